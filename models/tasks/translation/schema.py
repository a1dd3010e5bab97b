"""What may be asked of a translator, and what is answered. Pydantic only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from models.schemas import TextItem
from models.subwords import Subwords
from models.task import Card, Config, Line, Params, Part, Schema, Tally

Text = Annotated[str, Field(min_length=1, max_length=100_000)]
FAR = 5
"""A side this many times as long as the other is no translation, most likely."""


class Row(Schema):
    """A text and its translation."""

    source: Text
    target: Text
    split: Part | None = None

    @field_validator("source", "target")
    @classmethod
    def _visible(cls, text: str) -> str:
        if not text.strip():
            raise PydanticCustomError("blank", "the text is blank")
        return text


class TranslationParams(Params):
    """Options of a translation."""

    beam: int = Field(4, ge=1, le=32, description="Translations followed at a time; 1 takes the best next piece.")
    max_length: int | None = Field(
        None, ge=1, le=1000, description="Subwords of a translation at most; default by the length of the text."
    )
    alternatives: int = Field(
        0, ge=0, le=16, description="Further, distinct translations; more than `beam` - 1 widen the beam."
    )


class Alternative(Schema):
    """One translation and how good the model finds it."""

    translation: str
    score: float = Field(
        le=0, description="Log-probability over the length penalty of Wu et al. 2016; higher is better."
    )


class TranslationOutput(Alternative):
    """The best translation, and others where they were asked for."""

    alternatives: list[Alternative] = Field(default_factory=list, description="Best first; may be fewer than asked.")


class TranslationConfig(Config):
    """Options of one training run of a translator."""

    hidden: int = Field(256, ge=1, le=2048, description="Units of each layer and direction, of encoder and decoder.")
    bidirectional: bool = Field(True, description="Read the source in both directions.")
    dropout: float = Field(0.3, ge=0.0, lt=1.0, description="Share of activations dropped while learning.")
    epochs: int = Field(15, ge=1, le=10_000, description="Passes over the training part at most.")
    batch_steps: int = Field(1024, ge=1, le=10_000_000, description="Padded subwords of one side in a batch at most.")
    embedding: int = Field(256, ge=1, le=2048, description="Width of a subword's vector.")
    subwords: int = Field(4000, ge=16, le=64_000, description="Subwords of each side at most, or of both if `joint`.")
    joint: bool = Field(False, description="One vocabulary for both sides, for languages that share words and names.")
    label_smoothing: float = Field(
        0.1, ge=0.0, lt=1.0, description="Share of the probability spread over all subwords (Szegedy et al. 2016)."
    )
    word_dropout: float = Field(
        0.1, ge=0.0, lt=1.0, description="Share of subwords hidden while learning (Gal and Ghahramani 2016)."
    )
    copies: float = Field(
        0.05,
        ge=0.0,
        le=1.0,
        description="Share of pairs learnt again with an unknown word on both sides, to be copied.",
    )
    max_pieces: int = Field(
        256, ge=4, le=2000, description="Longer pairs teach nothing, and longer texts are refused; in subwords."
    )


class State(Schema):
    """What is counted before learning."""

    source: Subwords
    target: Subwords | None = Field(None, description="None where both sides share the source's.")
    stretch: float = Field(ge=1, description="Subwords of a translation for one of its source, at most.")
    spaced: bool = Field(description="Whether the targets are written with spaces.")
    apart: str = Field(description="Signs that stand apart from the word before them in all training sources.")

    @property
    def written(self) -> Subwords:
        """The subwords of the target."""
        return self.target or self.source


class PairTally(Tally):
    """Counts pairs and lengths in constant memory."""

    def __init__(self) -> None:
        self.rows = self.taught = self.same = self.far = 0
        self.characters = {"source": 0, "target": 0}
        self.longest = {"source": 0, "target": 0}

    def add(self, row: Row, *, line: int, part: Part | None) -> None:
        self.rows += 1
        self.taught += part in ("train", None)
        self.same += row.source == row.target
        lengths = {"source": len(row.source), "target": len(row.target)}
        self.far += max(lengths.values()) > 20 and max(lengths.values()) > FAR * min(lengths.values())
        for side, length in lengths.items():
            self.characters[side] += length
            self.longest[side] = max(self.longest[side], length)

    def stats(self) -> dict[str, Any]:
        return {
            "mean_characters": {side: round(n / max(1, self.rows), 1) for side, n in self.characters.items()},
            "longest_characters": self.longest,
            "same_on_both_sides": self.same,
        }

    def faults(self) -> list[tuple[int | None, str]]:
        if self.rows and not self.taught:
            return [(None, "every row is for validation or test; the training part holds no row")]
        return []

    def warnings(self) -> list[str]:
        told = []
        if 10 * self.same > self.rows:
            told.append(f"{self.same} of {self.rows} rows have the same text on both sides")
        if self.far:
            told.append(f"{self.far} rows have a side over {FAR} times as long as the other; are the sides aligned?")
        return told


LANGUAGE = re.compile(r"[a-z]{2,3}([-_][A-Za-z]{2,4})?")


def pairs(lines: Iterator[Line]) -> Iterator[Line]:
    """The rows of a table: columns `source` and `target`; or, where the first line names neither, its first two
    columns (a third is an attribution, as in Tatoeba's files) and the first line a pair like any other, unless
    both its cells are language codes such as `en` and `pt-BR`."""
    first = next(lines, None)
    if first is None:
        return
    _, record = first
    cells = [cell or "" for cell in record.values()]
    numbered = list(record) == [str(place) for place in range(1, len(record) + 1)]
    named = {"source", "target"} & set(cells if numbered else record) or len(record) not in (2, 3)
    if named and numbered:
        yield from ((line, dict(zip(cells, other.values(), strict=True))) for line, other in lines)
    elif named:
        yield from chain([first], lines)
    else:
        languages = numbered and all(map(LANGUAGE.fullmatch, cells[:2]))
        for line, other in lines if languages else chain([first], lines):
            yield line, dict(zip(("source", "target"), other.values(), strict=False))


CARD = Card(
    name="translation",
    title="Translation of a sentence",
    item=Text | TextItem,
    row=Row,
    output=TranslationOutput,
    state=State,
    tally=PairTally,
    params=TranslationParams,
    config=TranslationConfig,
    examples=("the cat sleeps", {"text": "where is my book ?"}),
    metric="bleu",
    table=pairs,
    headed=False,
    answers=("target",),
    named={"source": "text"},
    scoring=TranslationParams.model_validate({"beam": 1}),
)
