"""Metrics as plain numbers. Knows labels and counts, no task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def accuracy(predicted: Sequence[str], answers: Sequence[str]) -> float:
    """Share of predictions that are right."""
    return sum(p == a for p, a in zip(predicted, answers, strict=True)) / max(1, len(answers))


def macro_f1(predicted: Sequence[str], answers: Sequence[str]) -> float:
    """Mean over the labels in the answers of the harmonic mean of precision and recall."""
    expected, given = Counter(answers), Counter(predicted)
    hits = Counter(a for p, a in zip(predicted, answers, strict=True) if p == a)
    return sum(2 * hits[label] / (given[label] + n) for label, n in expected.items()) / max(1, len(expected))
