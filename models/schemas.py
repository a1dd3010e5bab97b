"""Shapes that several tasks share. Pydantic only."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from models.task import Params, Schema


def _as_text(label: Any) -> Any:
    return str(label) if type(label) is int else label


LabelName = Annotated[str, BeforeValidator(_as_text), Field(min_length=1, max_length=200)]
"""What a row is: a text, or a whole number, which is taken as text: 1 and "1" are one label."""


class TextItem(Schema):
    """A piece of text."""

    text: str = Field(min_length=1, max_length=100_000, description="The text, as a person wrote it.")


class LabelParams(Params):
    """Options of a prediction that chooses among labels."""

    top_k: int | None = Field(None, ge=1, le=1000, description="Keep only the best so many `scores`; default all.")


class LabelOutput(Schema):
    """One label chosen among several."""

    label: str = Field(description="The most probable label.")
    score: float = Field(ge=0, le=1, description="Its calibrated probability.")
    scores: dict[str, float] = Field(description="Probability of each label, best first; all of them sum to 1.")
