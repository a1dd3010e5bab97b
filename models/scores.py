"""Metrics as plain numbers. Knows labels and counts, no task."""

from __future__ import annotations

from collections.abc import Sequence


def accuracy(predicted: Sequence[str], answers: Sequence[str]) -> float:
    """Share of predictions that are right."""
    return sum(p == a for p, a in zip(predicted, answers, strict=True)) / max(1, len(answers))


def macro_f1(predicted: Sequence[str], answers: Sequence[str]) -> float:
    """Mean over the labels in the answers of the harmonic mean of precision and recall."""
    labels = sorted(set(answers))
    total = 0.0
    for label in labels:
        hits = sum(p == a == label for p, a in zip(predicted, answers, strict=True))
        total += 2 * hits / max(1, sum(p == label for p in predicted) + sum(a == label for a in answers))
    return total / max(1, len(labels))
