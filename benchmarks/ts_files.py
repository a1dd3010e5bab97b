"""Reads .ts files of the UEA and UCR archives, and gives the simplest opponent there is. Knows arrays and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

Labelled = list[tuple[np.ndarray, str]]
"""Sequences (T, F), each with its label."""


def read(path: Path) -> Labelled:
    """A sequence a line: its dimensions between colons, its label last."""
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.strip().lower() == "@data") + 1
    found = []
    for line in lines[start:]:
        if line.strip():
            *dimensions, label = line.strip().split(":")
            columns = [np.array(dimension.split(","), dtype=np.float64) for dimension in dimensions]
            found.append((np.stack(columns, axis=1), label))
    return found


def nearest(train: Labelled, test: Labelled, *, steps: int = 32) -> float:
    """Accuracy of the nearest neighbour: features scaled by the training part, time stretched to `steps`."""
    every = np.concatenate([values for values, _ in train])
    mean, deviation = every.mean(0), every.std(0) + 1e-9

    def flat(values: np.ndarray) -> np.ndarray:
        at = np.linspace(0, len(values) - 1, steps)
        scaled = (values - mean) / deviation
        return np.stack([np.interp(at, np.arange(len(values)), column) for column in scaled.T]).ravel()

    known = np.stack([flat(values) for values, _ in train])
    said = [train[int(((known - flat(values)) ** 2).sum(1).argmin())][1] for values, _ in test]
    return float(np.mean([one == label for one, (_, label) in zip(said, test, strict=True)]))
