"""Sequences of values to scaled features, and of tokens to ids. NumPy only.

T steps, F features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.batch import Example
from models.families.classify.codec import LabelCodec, features, labels_of
from models.families.classify.schema import said
from models.scaling import Scale
from models.task import Fault, Vectors
from models.tasks.sequences.schema import CARD, Row, SequenceConfig, SequenceItem, State
from models.vocab import counted


class SequenceCodec(LabelCodec[Row, SequenceItem, State, SequenceConfig]):
    """Values scaled by the training part, or ids of its tokens."""

    card = CARD

    def learn(self, rows: Sequence[Row], config: SequenceConfig, vectors: Vectors | None = None) -> State:
        labels = labels_of([row.label for row in rows])
        if rows and rows[0].kind == "tokens":
            words = (row.words[: config.max_steps] for row in rows)
            return State(**labels, vocabulary=counted(words, least=config.min_count, most=config.max_tokens))
        width = rows[0].steps.shape[1]
        return State(**labels, width=width, scale=Scale.of([self.numbers(row, config) for row in rows]))

    def read(self, item: SequenceItem, state: State, config: SequenceConfig) -> Example:
        if item.kind != state.kind:
            raise Fault(f"this model was taught with `{state.kind}` and cannot read `{item.kind}`", at=(item.kind,))
        if state.scale is None:
            ids = np.array(state.index.ids(item.words[: config.max_steps]), dtype=np.int64)
            return Example(arrays={"tokens": ids}, length=len(ids))
        width = item.steps.shape[1]
        if width != state.width:
            raise Fault(f"{said(width)} where this model was taught {state.width}", at=("values",))
        values = state.scale.apply(self.numbers(item, config))
        return Example(arrays={"values": values}, length=len(values))

    def numbers(self, item: SequenceItem, config: SequenceConfig) -> np.ndarray:
        """What is read of the values, (T, F) or (T, 2*F)."""
        return features(item.steps[: config.max_steps], config.motion)

    def probes(self, state: State) -> list[SequenceItem]:
        """Two sequences of the kind and width that the model was taught."""
        if state.scale is None:
            return [SequenceItem(tokens=[*(state.vocabulary or [])[:length], "?"]) for length in (3, 1)]
        return [SequenceItem(values=np.zeros((length, state.width or 1))) for length in (5, 2)]


CODEC = SequenceCodec()
