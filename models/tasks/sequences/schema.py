"""What may be asked about a sequence of numbers or tokens, and what is answered. Pydantic only."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import chain
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from models.arrays import Number, Numbers
from models.families.classify.schema import LabelState, LabelTally, SignalConfig
from models.scaling import Scale
from models.schemas import LabelName, LabelOutput, LabelParams
from models.tables import cells, steps
from models.task import Card, Line, Part, Schema, StepCard
from models.vocab import Vocabulary

Kind = Literal["values", "tokens"]
Token = Annotated[str, Field(min_length=1, max_length=200)] | Annotated[int, Field(strict=True)]


class SequenceItem(Schema):
    """Steps in order: feature vectors, single numbers, or tokens."""

    values: Annotated[np.ndarray, Numbers(axes=(1, 2))] | None = Field(
        default=None, description="A number, or a list of features, for each step."
    )
    tokens: Annotated[list[Token], Field(min_length=1, max_length=1_000_000, fail_fast=True)] | None = Field(
        default=None, description="A word, sign or code for each step.", examples=[["open", "read", "close"]]
    )

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.values is None) == (self.tokens is None):
            raise ValueError("either `values` or `tokens` is expected, and not both")
        return self

    @property
    def kind(self) -> Kind:
        """Which of the two it has."""
        return "tokens" if self.values is None else "values"

    @property
    def steps(self) -> np.ndarray:
        """The values as (T, F)."""
        assert self.values is not None  # noqa: S101  asked of values alone
        return self.values[:, None] if self.values.ndim == 1 else self.values

    @property
    def words(self) -> list[str]:
        """The tokens as text: 7 and "7" are one."""
        return [str(token) for token in self.tokens or ()]


class Step(Schema):
    """One further step. A bare number is its `value`, a bare list its `values`, a bare text its `token`."""

    value: Number | None = Field(default=None, description="Of a sequence of single numbers.")
    values: Annotated[np.ndarray, Numbers(axes=(1,), most_steps=65_536)] | None = Field(
        default=None, description="The features of the step."
    )
    token: Token | None = Field(default=None, description="A word, sign or code.")

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, given: Any) -> Any:
        if isinstance(given, dict):
            return given
        return {"values" if isinstance(given, list) else "token" if isinstance(given, str) else "value": given}

    @model_validator(mode="after")
    def _either(self) -> Self:
        if sum(part is not None for part in (self.value, self.values, self.token)) != 1:
            raise ValueError("a step has one of `value`, `values` and `token`")
        return self

    @property
    def kind(self) -> Kind:
        """What a sequence of such steps has."""
        return "values" if self.token is None else "tokens"

    @property
    def field(self) -> str:
        """What it was sent as."""
        return "token" if self.token is not None else "values" if self.value is None else "value"

    @property
    def numbers(self) -> np.ndarray:
        """(F,) of a step of numbers."""
        return np.array([self.value], dtype=np.float64) if self.values is None else self.values


class Row(SequenceItem):
    """A sequence and its label."""

    label: LabelName
    split: Part | None = None


class SequenceConfig(SignalConfig):
    """Options of one training run of a sequence model."""

    embedding: int = Field(64, ge=1, le=1024, description="Width of a token's vector.")
    token_dropout: float = Field(0.1, ge=0.0, lt=1.0, description="Share of tokens made unknown while learning.")
    min_count: int = Field(1, ge=1, le=1000, description="A token rarer than this in the training part is unknown.")
    max_tokens: int = Field(50_000, ge=1, le=1_000_000, description="Tokens in the vocabulary at most.")
    max_steps: int = Field(2000, ge=1, le=100_000, description="A longer sequence is cut after so many steps.")


class State(LabelState):
    """What is counted before learning, and fitted after it."""

    width: int | None = None
    """Numbers of a step, where the rows hold values."""
    scale: Scale | None = None
    """Of what is read of a step: its numbers, their changes, or both."""
    vocabulary: list[str] | None = None
    """Where the rows hold tokens."""

    @property
    def kind(self) -> Kind:
        """What the model was taught to read."""
        return "tokens" if self.scale is None else "values"

    @cached_property
    def index(self) -> Vocabulary:
        """The ids of the vocabulary's tokens."""
        return Vocabulary(self.vocabulary or [])


class SequenceTally(LabelTally):
    """Counts labels and steps; all rows must be of the first one's kind and width."""

    unit = "steps"

    def length(self, row: Row) -> int:
        return len(row.words) if row.values is None else len(row.values)

    def width(self, row: Row) -> int | None:
        return None if row.values is None else int(row.steps.shape[1])


def table(lines: Iterator[Line]) -> Iterator[Line]:
    """A table as sequences: `values` or `tokens` in a cell, or a step a line: `id`, `label` and either `token`
    or a column for each feature."""
    first = next(lines, None)
    lines = chain([first] if first else [], lines)
    columns = set(first[1]) if first else set()
    if columns & {"values", "tokens"}:
        return cells(cells(lines, "values"), "tokens", words=True)
    if "token" in columns:
        return steps(lines, "tokens", column="token")
    return steps(lines, "values")


CARD = Card(
    name="sequences",
    title="Label of a sequence",
    item=SequenceItem,
    row=Row,
    output=LabelOutput,
    state=State,
    tally=SequenceTally,
    params=LabelParams,
    config=SequenceConfig,
    table=table,
    examples=(
        {"values": [[0.1, 1.0], [0.4, 0.9], [0.9, 0.5], [1.2, -0.1]]},
        {"values": [[1.0, 0.0], [0.5, 0.9], [-0.4, 0.9]]},
    ),
    metric="accuracy",
    stream=StepCard(
        step=Step,
        output=LabelOutput,
        item=Schema,
        params=LabelParams,
        examples=([0.1, 1.0], [0.4, 0.9], {"values": [0.9, 0.5]}),
    ),
)
