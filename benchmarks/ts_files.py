"""Reads .ts files of the UEA and UCR archives: a sequence a line, its dimensions between colons, its label last."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def read(path: Path) -> list[tuple[np.ndarray, str]]:
    """Each sequence as (T, F), with its label."""
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.strip().lower() == "@data") + 1
    found = []
    for line in lines[start:]:
        if line.strip():
            *dimensions, label = line.strip().split(":")
            columns = [np.array(dimension.split(","), dtype=np.float64) for dimension in dimensions]
            found.append((np.stack(columns, axis=1), label))
    return found
