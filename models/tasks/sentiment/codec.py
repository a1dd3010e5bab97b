"""Texts to arrays of word and subword ids. NumPy only.

T tokens, K subwords of a token.
"""

from __future__ import annotations

from collections.abc import Sequence

from models.batch import Example
from models.families.classify.codec import LabelCodec, labels_of
from models.schemas import TextItem
from models.task import Vectors
from models.tasks.sentiment.schema import CARD, Row, SentimentConfig, State
from models.vocab import counted, words


class SentimentCodec(LabelCodec[Row, "str | TextItem", State, SentimentConfig]):
    """Words, hashed subwords and their lengths."""

    card = CARD

    def learn(self, rows: Sequence[Row], config: SentimentConfig, vectors: Vectors | None = None) -> State:
        tokens = (words(row.text) for row in rows)
        # A pretrained vector makes even a word seen once worth an id of its own.
        known = counted(tokens, least=1 if vectors else config.min_count, most=config.max_words)
        return State(
            **labels_of([row.label for row in rows]),
            vocabulary=known,
            vector_width=vectors.width if vectors else None,
        )

    def read(self, item: Row | TextItem | str, state: State, config: SentimentConfig) -> Example:
        tokens = _tokens(item, config)
        ids, pieces = state.spellings.read(tokens)
        return Example(arrays={"words": ids, "subwords": pieces}, length=len(tokens))

    def steps(self, item: TextItem | str, state: State, config: SentimentConfig) -> list[str]:
        return _tokens(item, config)


def _tokens(item: Row | TextItem | str, config: SentimentConfig) -> list[str]:
    text = item if isinstance(item, str) else item.text
    return words(text)[: config.max_tokens] or [""]


CODEC = SentimentCodec()
