"""Clips to windows of scaled features, and the logits of windows to those of clips. NumPy only.

T frames, F features of a frame, W windows of a clip, N windows of a batch, B clips, C labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from models.batch import Batch, Example, pad
from models.families.classify.codec import LabelCodec, features, labels_of
from models.runtimes.run import Run
from models.scaling import Scale
from models.task import Fault, Part, Vectors
from models.tasks.actions.schema import CARD, ActionConfig, ActionItem, Row, State

AT_ONCE = 256
"""Windows that the network reads in one call: the longest clip costs no more memory."""


class ActionCodec(LabelCodec[Row, ActionItem, State, ActionConfig]):
    """One window of a clip after another; while learning, each is an example of its own."""

    card = CARD

    def learn(self, rows: Sequence[Row], config: ActionConfig, vectors: Vectors | None = None) -> State:
        read = [features(row.frames, config.motion) for row in rows]
        width = rows[0].frames.shape[1]
        return State(**labels_of([row.label for row in rows]), width=width, scale=Scale.of(read))

    def read(self, item: ActionItem, state: State, config: ActionConfig) -> Example:
        frames = item.frames
        if frames.shape[1] != state.width:
            detail = f"{frames.shape[1]} features a frame where this model was taught {state.width}"
            raise Fault(detail, at=("frames",))
        read = windows(state.scale.apply(features(frames, config.motion)), config.window, config.overlap)
        return Example(arrays={"frames": read}, length=read.shape[0] * read.shape[1])

    def examples(self, row: Row, state: State, config: ActionConfig, part: Part) -> Iterator[Example]:
        for example in super().examples(row, state, config, part):
            for window in np.split(example.arrays["frames"], len(example.arrays["frames"]) if part == "train" else 1):
                arrays = {**example.arrays, "frames": window}
                yield replace(example, arrays=arrays, length=window.shape[0] * window.shape[1])

    def collate(self, examples: Sequence[Example]) -> Batch:
        """(N, T, F): the windows of all clips, one clip after another; `contexts` says how many each has."""
        counts = [len(example.arrays["frames"]) for example in examples]
        read = [window for example in examples for window in example.arrays["frames"]]
        arrays = {"frames": pad(read), "lengths": np.array([len(window) for window in read], dtype=np.int64)}
        if "label" in examples[0].arrays:
            arrays["label"] = np.repeat([example.arrays["label"] for example in examples], counts)
        return Batch(arrays=arrays, contexts=counts)

    def logits(self, run: Run, batch: Batch) -> np.ndarray:
        """(B, C): the mean over each clip's windows."""
        read, lengths = batch.arrays["frames"], batch.arrays["lengths"]
        said = [
            run("forward", {"frames": read[i : i + AT_ONCE], "lengths": lengths[i : i + AT_ONCE]})["logits"]
            for i in range(0, len(read), AT_ONCE)
        ]
        ends = np.cumsum(batch.contexts)[:-1]
        parts = np.split(np.concatenate(said).astype(np.float64), ends)
        return np.stack([part.mean(axis=0) for part in parts])

    def probes(self, state: State) -> list[ActionItem]:
        """Two clips of the width that the model was taught."""
        return [ActionItem(frames=np.zeros((length, state.width))) for length in (5, 2)]


def windows(read: np.ndarray, length: int, overlap: float) -> np.ndarray:
    """(T, F) -> (W, length, F): one window begins each `length * (1 - overlap)` steps, and the last one ends with
    the clip; (1, T, F) where T is not above `length`."""
    last = len(read) - length
    if last <= 0:
        return read[None]
    hop = max(1, round(length * (1 - overlap)))
    starts = [*range(0, last, hop), last]
    return np.stack([read[start : start + length] for start in starts])


CODEC = ActionCodec()
