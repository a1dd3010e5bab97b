"""Sequences of values to scaled features, and of tokens to ids. NumPy only.

T steps, F features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.batch import Example
from models.families.classify.codec import LabelCodec, labels_of
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
        return State(**labels, scale=Scale.of([row.steps[: config.max_steps] for row in rows]))

    def read(self, item: SequenceItem, state: State, config: SequenceConfig) -> Example:
        if item.kind != state.kind:
            raise Fault(f"this model was taught with `{state.kind}` and cannot read `{item.kind}`", at=(item.kind,))
        if state.scale is None:
            ids = np.array(state.index.ids(item.words[: config.max_steps]), dtype=np.int64)
            return Example(arrays={"tokens": ids}, length=len(ids))
        steps, width = item.steps[: config.max_steps], len(state.scale.mean)
        if steps.shape[1] != width:
            raise Fault(f"{said(steps.shape[1])} where this model was taught {width}", at=("values",))
        return Example(arrays={"values": state.scale.apply(steps)}, length=len(steps))

    def probes(self, state: State) -> list[SequenceItem]:
        """Two sequences of the kind and width that the model was taught."""
        if state.scale is None:
            return [SequenceItem(tokens=[*(state.vocabulary or [])[:length], "?"]) for length in (3, 1)]
        mean = np.array(state.scale.mean)
        return [SequenceItem(values=np.tile(mean, (length, 1))) for length in (5, 2)]


CODEC = SequenceCodec()
