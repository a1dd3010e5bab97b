"""Rows and items to labelled steps, and long ones to windows and back. NumPy only; knows no kind of step.

B rows, N windows, T steps (padded), C labels.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np

from models.batch import Batch, Example, pad
from models.families.tag.schema import TagState
from models.task import Codec, ConfigT, ItemT, OutputT, ParamsT, Part, RowT

FEW = 64
"""Training examples at least: fewer rows are read several times an epoch, each time with other noise."""
UNTAUGHT = -1
"""The number of a label that no training row has, and of padding."""

TagStateT = TypeVar("TagStateT", bound=TagState)
Told = TypeVar("Told")


@dataclass(frozen=True, kw_only=True)
class Read(Generic[Told]):
    """What a codec remembers of an example: where its windows end, the last with it, and what else `predict` needs."""

    ends: Sequence[int]
    of: Told


class TagCodec(Codec[RowT, ItemT, OutputT, TagStateT, ParamsT, ConfigT]):
    """A label for every step. A task says how a row is read, which labels it has, and what they mean to a caller."""

    @abstractmethod
    def read(self, item: Any, state: TagStateT, config: ConfigT) -> Example:
        """What the network reads of a row or an item, without an answer, its `context` a `Read`. Raises `Fault`
        where it cannot be used."""

    @abstractmethod
    def labels(self, row: RowT, example: Example) -> Sequence[str]:
        """The label of each step of a row's example: its answer."""

    def windowed(self, labels: Sequence[str], ends: Sequence[int]) -> Sequence[str]:
        """The labels that are learnt where windows end so; by default the answer's."""
        return labels

    def examples(self, row: RowT, state: TagStateT, config: ConfigT, part: Part) -> Iterator[Example]:
        read = self.read(row, state, config)
        labels = self.labels(row, read)
        index = {label: number for number, label in enumerate(state.labels)}
        learnt = self.windowed(labels, read.context.ends)
        numbers = np.array([index.get(label, UNTAUGHT) for label in learnt], dtype=np.int64)
        times = -(-FEW // max(1, state.rows)) if part == "train" else 1
        yield from [replace(read, arrays={**read.arrays, "labels": numbers}, answer=labels)] * times

    def example(self, item: ItemT, params: ParamsT, state: TagStateT, config: ConfigT) -> Example:
        return self.read(item, state, config)

    def collate(self, examples: Sequence[Example]) -> Batch:
        """(N, T, ...): the windows of all examples, one example after another; `contexts` are their `Read`."""
        windows = {
            name: [w for e in examples for w in np.split(e.arrays[name], e.context.ends[:-1])]
            for name in examples[0].arrays
        }
        arrays = {name: pad(read, value=UNTAUGHT if name == "labels" else 0) for name, read in windows.items()}
        lengths = [len(window) for window in next(iter(windows.values()))]
        arrays["lengths"] = np.array(lengths, dtype=np.int64)
        return Batch(arrays=arrays, contexts=[example.context for example in examples])


def counted(rows: Iterable[Sequence[str]], *, first: Sequence[str] = ()) -> dict[str, Any]:
    """Labels of training rows and their counts, as fields of a `TagState`: those of `first`, then the others sorted."""
    counts, read = Counter[str](), 0
    for labels in rows:
        counts.update(labels)
        read += 1
    ordered = [*first, *sorted(counts.keys() - set(first))]
    return {"labels": ordered, "counts": [counts[label] for label in ordered], "rows": read}


def runs(labels: Sequence[Any]) -> list[tuple[int, int]]:
    """Start and end of each longest run of equal labels, in order."""
    starts = [i for i, label in enumerate(labels) if i == 0 or label != labels[i - 1]]
    return list(zip(starts, [*starts[1:], len(labels)], strict=False))
