"""What may be asked about the sentiment of a text, and what is answered. Pydantic only."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field

from models.schemas import LabelOutput, LabelParams, TextItem
from models.task import Card, Config, Part, Schema, Tally
from models.vocab import Vocabulary

Text = Annotated[str, Field(min_length=1, max_length=100_000)]


class Row(Schema):
    """A text and the label a person gave it."""

    text: Text
    label: str = Field(min_length=1, max_length=200)
    split: Part | None = None


class SentimentConfig(Config):
    """Options of one training run of a sentiment model."""

    hidden: int = Field(96, ge=1, le=2048, description="Units of each layer and direction.")
    bidirectional: bool = Field(True, description="Read each text in both directions.")
    dropout: float = Field(0.5, ge=0.0, lt=1.0, description="Share of activations dropped while learning.")
    epochs: int = Field(6, ge=1, le=10_000, description="Passes over the training part at most.")
    patience: int = Field(4, ge=1, le=10_000, description="Epochs without a better score before stopping.")
    batch_steps: int = Field(1024, ge=1, le=10_000_000, description="Padded tokens in one batch at most.")
    embedding: int = Field(128, ge=1, le=1024, description="Width of a word's vector; that of `vectors` where given.")
    vectors: str | None = Field(
        None, pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="Uploaded word vectors to start from; fine-tuned."
    )
    word_dropout: float = Field(0.2, ge=0.0, lt=1.0, description="Share of words made unknown while learning.")
    min_count: int = Field(1, ge=1, le=1000, description="A word rarer than this in the training part is unknown.")
    max_words: int = Field(50_000, ge=1, le=1_000_000, description="Words in the vocabulary at most.")
    max_tokens: int = Field(512, ge=1, le=10_000, description="A longer text is cut after so many tokens.")


class State(Schema):
    """What is counted before learning, and fitted after it."""

    labels: list[str]
    counts: list[int]
    vocabulary: list[str]
    vector_width: int | None = None
    temperature: float = Field(default=1.0, gt=0)
    """Divides the logits, so that a score of 0.8 is right four times out of five (Guo et al. 2017)."""

    @cached_property
    def index(self) -> Vocabulary:
        """The ids of the vocabulary's words."""
        return Vocabulary(self.vocabulary)


MOST_LABELS = 1000


class LabelTally(Tally):
    """Counts labels and lengths; memory does not grow beyond `MOST_LABELS` labels of each part."""

    def __init__(self) -> None:
        self.labels: Counter[str] = Counter()
        self.taught: set[str] = set()
        """Labels that the training part may hold: those of its rows, and of rows that name no part."""
        self.rows = 0
        self.characters = 0
        self.longest = 0
        self.crowded: int | None = None
        """The line whose label was one too many."""

    def add(self, row: Row, *, line: int, part: Part | None) -> None:
        self.rows += 1
        self.characters += len(row.text)
        self.longest = max(self.longest, len(row.text))
        if row.label not in self.labels and len(self.labels) >= MOST_LABELS:
            self.crowded = self.crowded or line
            return
        self.labels[row.label] += 1
        if part in ("train", None):
            self.taught.add(row.label)

    def stats(self) -> dict[str, Any]:
        return {
            "labels": dict(self.labels.most_common(100)),
            "mean_characters": round(self.characters / max(1, self.rows), 1),
            "longest_characters": self.longest,
        }

    def faults(self) -> list[tuple[int | None, str]]:
        if self.crowded is not None:
            return [
                (self.crowded, f"more than {MOST_LABELS} different labels; a label is one of a few words, not a text")
            ]
        if len(self.labels) == 1:
            return [(None, f"every row has the label '{next(iter(self.labels))}'; at least two labels are needed")]
        if self.labels and len(self.taught) < 2:
            held = f"only the label '{next(iter(self.taught))}'" if self.taught else "no row"
            return [(None, f"the training part holds {held}; at least two labels are needed there")]
        return []

    def warnings(self) -> list[str]:
        untaught = [label for label in self.labels if label not in self.taught]
        return [
            *(f"the label '{label}' has one row; add more or drop it" for label, n in self.labels.items() if n == 1),
            *(f"the label '{label}' stands in no training row and cannot be learnt" for label in untaught),
        ]


CARD = Card(
    name="sentiment",
    title="Sentiment of a text",
    item=Text | TextItem,
    row=Row,
    output=LabelOutput,
    state=State,
    tally=LabelTally,
    params=LabelParams,
    config=SentimentConfig,
    examples=("I loved this movie!", {"text": "This was a waste of time."}),
    metric="accuracy",
)
