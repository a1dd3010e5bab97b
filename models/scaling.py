"""Features brought to one scale: mean 0, deviation 1. Knows arrays over time, no task.

T time steps, F features.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

from models.task import Schema

FARTHEST = 20.0
"""Deviations from the mean beyond which a number is cut: one wild value must not drown the rest."""


class Scale(Schema):
    """Mean and deviation of each feature over the training part."""

    mean: list[float]
    deviation: list[float]

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray]) -> Scale:
        """The scale of all steps of arrays (T, F). A feature that never changes is only shifted."""
        steps = sum(len(array) for array in arrays)
        mean = _sum(arrays) / steps
        variance = _sum((array - mean) ** 2 for array in arrays) / steps
        deviation = np.sqrt(variance)
        deviation[deviation <= 1e-9 * np.maximum(1.0, np.abs(mean))] = 1.0
        return cls(mean=mean.tolist(), deviation=deviation.tolist())

    def apply(self, array: np.ndarray) -> np.ndarray:
        """(T, F) -> float32 (T, F), cut at `FARTHEST` deviations."""
        mean, deviation = self._arrays
        scaled: np.ndarray = np.clip((array - mean) / deviation, -FARTHEST, FARTHEST)
        return scaled.astype(np.float32)

    @cached_property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.mean), np.array(self.deviation)


def _sum(arrays: Iterable[np.ndarray]) -> np.ndarray:
    total: np.ndarray = np.sum([array.sum(axis=0, dtype=np.float64) for array in arrays], axis=0)
    return total
