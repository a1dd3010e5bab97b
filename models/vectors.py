"""Pretrained word vectors in a file: reading what others publish, and our own form. Knows words and numbers, no task.

Our own form is a zip of `words.json` (word -> row; several words may share one) and `vectors.npy`
(rows x width, float16): data, never code.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.archive import DAMAGED

LARGEST_WIDTH = 4096
LARGEST = 4 * 1024**3

UNREADABLE = (
    *DAMAGED,  # JSON nested too deeply is among them
    MemoryError,  # an array whose header promises more than there is
    OverflowError,
)
"""What a damaged or hostile zip raises while it, and the JSON and the array in it, are read."""


class VectorError(ValueError):
    """A file that holds no word vectors; a sentence with the place."""


class WordVectors:
    """Vectors in memory."""

    def __init__(self, rows: dict[str, int], table: np.ndarray) -> None:
        self.rows, self._table = rows, table

    def __contains__(self, word: str) -> bool:
        return word in self.rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def width(self) -> int:
        """Numbers of one vector."""
        return int(self._table.shape[1])

    def matrix(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The vectors of `words`, float32 (N, width), zeros for an unknown one; and which are known, bool (N,)."""
        found = np.array([self.rows.get(word, -1) for word in words], dtype=np.int64)
        matrix = self._table[np.maximum(found, 0)].astype(np.float32)
        matrix[found < 0] = 0
        return matrix, found >= 0

    def save(self, path: Path) -> None:
        """Write our own form."""
        buffer = io.BytesIO()
        np.save(buffer, self._table.astype(np.float16), allow_pickle=False)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("words.json", json.dumps(self.rows, ensure_ascii=False))
            archive.writestr("vectors.npy", buffer.getvalue())


def read(path: Path) -> WordVectors:
    """Read our own form, or text as word2vec and GloVe write it (`word 0.1 0.2 ...`). Raises `VectorError`."""
    return _from_zip(path) if zipfile.is_zipfile(path) else _from_text(path)


def _halved(array: np.ndarray) -> np.ndarray:
    """As float16; what is too large for it becomes infinite."""
    with np.errstate(over="ignore"):
        halved: np.ndarray = array.astype(np.float16)
    return halved


def _from_zip(path: Path) -> WordVectors:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename: entry.file_size for entry in archive.infolist()}
            if set(entries) != {"words.json", "vectors.npy"} or sum(entries.values()) > LARGEST:
                raise VectorError("the zip must hold words.json and vectors.npy alone")
            rows = json.loads(archive.read("words.json"))
            table = np.load(io.BytesIO(archive.read("vectors.npy")), allow_pickle=False)
    except VectorError:
        raise
    except UNREADABLE:
        raise VectorError("words.json must be JSON and vectors.npy an array of numbers") from None
    if table.ndim != 2 or table.dtype.kind != "f" or not 1 <= table.shape[1] <= LARGEST_WIDTH:
        raise VectorError(f"vectors.npy must be floats of rows x width, not {table.dtype} {table.shape}")
    fits = isinstance(rows, dict) and all(isinstance(r, int) and 0 <= r < len(table) for r in rows.values())
    if not fits or not rows:
        raise VectorError(f"words.json must map words to rows from 0 to {len(table) - 1}")
    table = _halved(table)
    if not np.isfinite(table).all():
        raise VectorError("vectors.npy holds numbers that are not finite, or beyond 65504")
    return WordVectors(rows, table)


def _from_text(path: Path) -> WordVectors:
    rows: dict[str, int] = {}
    table: list[np.ndarray] = []
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            fields = line.rstrip().split(" ")
            cut = max(1, len(fields) - len(table[0])) if table else 1  # GloVe has words with spaces
            word, numbers = " ".join(fields[:cut]), fields[cut:]
            if number == 1 and len(numbers) == 1:
                continue  # word2vec's own first line: how many words, and their width
            try:
                vector = _halved(np.array(numbers, dtype=np.float64))
            except ValueError:
                raise VectorError(f"line {number}: a word and its numbers are expected") from None
            if not len(vector) or len(vector) > LARGEST_WIDTH or (table and len(vector) != len(table[0])):
                width = len(table[0]) if table else f"1 to {LARGEST_WIDTH}"
                raise VectorError(f"line {number}: {len(vector)} numbers where {width} are expected")
            if not np.isfinite(vector).all():
                raise VectorError(f"line {number}: a number is not finite, or beyond 65504")
            if word not in rows:
                rows[word] = len(table)
                table.append(vector)
    if not table:
        raise VectorError("the file holds no word")
    return WordVectors(rows, np.stack(table))
