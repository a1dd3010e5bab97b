"""Examples, batches, and the only code that pads. Knows arrays and lengths, never what they mean.

B batch, T time steps (padded), F features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """What the network reads for one row or item.

    `arrays` are without a batch axis; `length` is the number of time steps the network will run.
    `answer` is what `Codec.score` compares with (None when serving); `context` is what
    `Codec.predict` needs to give arrays their meaning back (a scale, character offsets, times).
    """

    arrays: Mapping[str, np.ndarray]
    length: int
    answer: Any = None
    context: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Examples padded to one length. Arrays are NumPy in the codec, tensors in the network."""

    arrays: Mapping[str, Any]
    """name -> (B, ...), padded; with `lengths` (B,) int64 among them where lengths matter."""
    contexts: Sequence[Any] = field(default_factory=list)
    """`Example.context` of each, in order."""

    def mapped(self, change: Callable[[Any], Any]) -> Batch:
        """The same batch with every array changed: moved to a device, made a tensor."""
        return replace(self, arrays={name: change(array) for name, array in self.arrays.items()})


def pad(arrays: Sequence[np.ndarray], *, value: float = 0, left: bool = False, length: int | None = None) -> np.ndarray:
    """Stack arrays of shape (T_i, ...) into (B, T, ...), filled with `value` after (or before) each.

    T is the longest T_i, or `length`, and at least 1: a network cannot run no step. Arrays without
    axes are stacked as they are.
    """
    if arrays[0].ndim == 0:
        return np.stack(arrays)
    if len(arrays) == 1 and len(arrays[0]) and length in {None, len(arrays[0])}:
        return arrays[0][np.newaxis]
    longest = max(1, *(len(array) for array in arrays)) if length is None else length
    padded = np.full((len(arrays), longest, *arrays[0].shape[1:]), value, dtype=arrays[0].dtype)
    for row, array in zip(padded, arrays, strict=True):
        if left:
            row[longest - len(array) :] = array
        else:
            row[: len(array)] = array
    return padded


def bucket(length: int) -> int:
    """The length class of an example: grows by at most a quarter, so padding wastes at most a fifth."""
    if length <= 8:
        return max(1, length)
    step = 1 << (max(0, length - 1).bit_length() - 3)
    return -(-length // step) * step


def batches(lengths: Sequence[int], *, steps: int, shuffle: np.random.Generator | None = None) -> Iterator[list[int]]:
    """Indices of examples in batches of near-equal length, none above `steps` padded steps.

    Equal lengths run 2-3 times faster than packed ones on a CPU, so examples are ordered by length and
    cut; ties, and the order of the batches, are shuffled. An example longer than `steps` comes alone.
    """
    order = np.arange(len(lengths)) if shuffle is None else shuffle.permutation(len(lengths))
    order = order[np.argsort(np.asarray(lengths)[order], kind="stable")]
    cut: list[list[int]] = []
    for index in order.tolist():
        length = max(1, lengths[index])
        if cut and (len(cut[-1]) + 1) * length <= steps:
            cut[-1].append(index)
        else:
            cut.append([index])
    if shuffle is not None:
        cut = [cut[i] for i in shuffle.permutation(len(cut))]
    yield from cut
