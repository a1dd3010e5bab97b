"""Reads the word vectors that the benchmarks of texts are given. Knows words, no task."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from models.vectors import WordVectors


def read(data: Path) -> WordVectors:
    """`word2row.json` and `vectors_f16.npy` of the folder's `vectors/`."""
    words = json.loads((data / "vectors/word2row.json").read_text(encoding="utf-8"))
    return WordVectors(words, np.load(data / "vectors/vectors_f16.npy", allow_pickle=False))
