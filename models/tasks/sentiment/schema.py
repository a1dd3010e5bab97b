"""What may be asked about the sentiment of a text, and what is answered. Pydantic only."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

from pydantic import Field

from models.families.classify.schema import LabelState, LabelTally
from models.schemas import LabelName, LabelOutput, LabelParams, TextItem
from models.task import Card, Config, Part, Schema
from models.vocab import Spellings

BUCKETS = 8_000
"""Subword ids."""
SUBWORDS = 12
"""Of a word at most."""
Text = Annotated[str, Field(min_length=1, max_length=100_000)]


class Row(Schema):
    """A text and the label a person gave it."""

    text: Text
    label: LabelName
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


class State(LabelState):
    """What is counted before learning, and fitted after it."""

    vocabulary: list[str]
    vector_width: int | None = None

    @cached_property
    def spellings(self) -> Spellings:
        """What is read of each token."""
        return Spellings(self.vocabulary, buckets=BUCKETS, most=SUBWORDS)


class TextTally(LabelTally):
    """Counts labels and characters."""

    unit = "characters"

    def length(self, row: Row) -> int:
        return len(row.text)


CARD = Card(
    name="sentiment",
    title="Sentiment of a text",
    item=Text | TextItem,
    row=Row,
    output=LabelOutput,
    state=State,
    tally=TextTally,
    params=LabelParams,
    config=SentimentConfig,
    examples=("I loved this movie!", {"text": "This was a waste of time."}),
    metric="accuracy",
)
