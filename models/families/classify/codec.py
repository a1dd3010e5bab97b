"""Rows and items to labelled examples, and logits to labels. NumPy only; knows no kind of row.

B rows, T time steps, F features, C labels.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from models.batch import Batch, Example, pad
from models.families.classify.schema import LabelState
from models.runtimes.run import Run
from models.schemas import LabelOutput, LabelParams
from models.scores import accuracy, macro_f1
from models.task import Codec, ConfigT, ItemT, Part, RowT

FEW = 192
"""Training examples at least: fewer rows are read several times an epoch, each time with other noise."""
ENOUGH = 100
"""Answers that a temperature needs; fewer say more of themselves than of the network."""

NAMED = 5
"""Labels that are told of one by one."""

LabelStateT = TypeVar("LabelStateT", bound=LabelState)


class LabelCodec(Codec[RowT, ItemT, LabelOutput, LabelStateT, LabelParams, ConfigT]):
    """One label for a whole row, with calibrated probabilities. A task says how a row is read."""

    @abstractmethod
    def read(self, item: Any, state: LabelStateT, config: ConfigT) -> Example:
        """What the network reads of a row or an item, without an answer. Raises `Fault` where it cannot be used."""

    def examples(self, row: RowT, state: LabelStateT, config: ConfigT, part: Part) -> Iterator[Example]:
        label: str = row.label  # type: ignore[attr-defined]
        index = state.labels.index(label) if label in state.labels else -1
        if part == "train" and index < 0:
            return
        read = self.read(row, state, config)
        arrays = {**read.arrays, "label": np.array(index, dtype=np.int64)}
        times = -(-FEW // max(1, sum(state.counts))) if part == "train" else 1
        yield from [replace(read, arrays=arrays, answer=label)] * times

    def example(self, item: ItemT, params: LabelParams, state: LabelStateT, config: ConfigT) -> Example:
        return self.read(item, state, config)

    def collate(self, examples: Sequence[Example]) -> Batch:
        arrays = {name: pad([example.arrays[name] for example in examples]) for name in examples[0].arrays}
        arrays["lengths"] = np.array([example.length for example in examples], dtype=np.int64)
        return Batch(arrays=arrays)

    def logits(self, run: Run, batch: Batch) -> np.ndarray:
        """(B, C): one row per example."""
        return run("forward", batch.arrays)["logits"].astype(np.float64)

    def predict(self, run: Run, batch: Batch, params: LabelParams, state: LabelStateT) -> list[LabelOutput]:
        return self.told(self.logits(run, batch), params, state)

    def told(self, logits: np.ndarray, params: LabelParams, state: LabelStateT) -> list[LabelOutput]:
        """What some logits (B, C) mean."""
        probabilities = hedged(softmax(logits / state.temperature), sum(state.counts))
        orders = np.argsort(-probabilities, axis=1, kind="stable")[:, : params.top_k]
        return [
            _output(row, order, state.labels)
            for row, order in zip(probabilities.tolist(), orders.tolist(), strict=True)
        ]

    def score(self, outputs: Sequence[LabelOutput], answers: Sequence[str]) -> dict[str, float]:
        predicted = [output.label for output in outputs]
        return {"accuracy": accuracy(predicted, answers), "macro_f1": macro_f1(predicted, answers)}

    def guess(self, answers: Sequence[str], state: LabelStateT) -> float | None:
        common = max(zip(state.counts, state.labels, strict=True))[1]
        return accuracy([common] * len(answers), answers)

    def remarks(self, rows: Mapping[Part, Sequence[RowT]], state: LabelStateT, config: ConfigT) -> list[str]:
        """Labels that the training part shows once, and those that only the other parts have."""
        once = [label for label, count in zip(state.labels, state.counts, strict=True) if count == 1]
        others = {row.label for part in ("validation", "test") for row in rows.get(part, ())}  # type: ignore[attr-defined]
        unseen = sorted(others - set(state.labels))
        return [
            *_told(once, "stands in one training row: answers for it are guesses; add rows of it, or drop it"),
            *_told(unseen, "stands in no training row: its rows in other parts count as wrong; add some to train"),
        ]

    def calibrate(
        self, run: Run, batches: Sequence[Batch], state: LabelStateT, answers: Sequence[Sequence[str]]
    ) -> LabelStateT:
        """The temperature with the least negative log-likelihood, among 61 from 0.25 to 8."""
        logits = np.concatenate([self.logits(run, batch) for batch in batches])
        truth = np.array([state.labels.index(a) if a in state.labels else -1 for part in answers for a in part])
        keep = np.flatnonzero(truth >= 0)
        if len(keep) < ENOUGH:
            return state
        grid = np.geomspace(0.25, 8, 61)
        chosen = np.arange(len(keep)), truth[keep]
        likelihoods = [np.log(softmax(logits[keep] / t)[chosen] + 1e-12).sum() for t in grid]
        return state.model_copy(update={"temperature": float(grid[int(np.argmax(likelihoods))])})


def _told(labels: Sequence[str], what: str) -> list[str]:
    """A sentence for each of the first labels, and one for the others."""
    more = [f"the same holds for {len(labels) - NAMED} other labels"] if len(labels) > NAMED else []
    return [*(f"the label '{label}' {what}" for label in labels[:NAMED]), *more]


def labels_of(labels: Sequence[str]) -> dict[str, Any]:
    """The labels of the training rows, sorted, and how many rows each has: fields of a `LabelState`."""
    counts = Counter(labels)
    return {"labels": sorted(counts), "counts": [counts[label] for label in sorted(counts)]}


def features(values: np.ndarray, motion: str) -> np.ndarray:
    """(T, F) -> (T, F), or (T, 2*F) with `motion` added; no change is known at the first step: it is 0."""
    if motion == "none":
        return values
    change = np.diff(values, axis=0, prepend=values[:1])
    return change if motion == "alone" else np.concatenate([values, change], axis=1)


def softmax(logits: np.ndarray) -> np.ndarray:
    """(B, C) -> (B, C), rows that sum to 1."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    total: np.ndarray = shifted / shifted.sum(axis=1, keepdims=True)
    return total


def hedged(probabilities: np.ndarray, rows: int) -> np.ndarray:
    """(B, C) -> (B, C): no surer than so many training rows allow.

    Laplace's rule of succession: one imagined row of each label beside the real ones. Four rows of two
    labels give 5/6 at most; a thousand rows change the third digit. The order stays.
    """
    labels = probabilities.shape[1]
    surest: np.ndarray = (rows * probabilities + 1) / (rows + labels)
    return surest


def _output(probabilities: list[float], order: list[int], labels: list[str]) -> LabelOutput:
    scores = {labels[i]: probabilities[i] for i in order}
    return LabelOutput(label=labels[order[0]], score=probabilities[order[0]], scores=scores)
