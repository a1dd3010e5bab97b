"""Rows of word vectors: some are given, and some are forgotten while learning. Knows rows, never a text.

B texts, T tokens (padded).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from models.task import Vectors
from models.vocab import PADDING, UNKNOWN

GIVEN = 0.3
"""Standard deviation of the numbers of given vectors, whatever it is in their file."""


def forgotten(share: float, words: Tensor, *more: Tensor) -> list[Tensor]:
    """words (B, T) with a share of them as unknown, and what `more` (B, T) says of the same ones: what an unknown
    word means is learnt from these."""
    lost = torch.rand(words.shape, device=words.device) < share
    return [ids.masked_fill(lost & (ids > PADDING), UNKNOWN) for ids in (words, *more)]


def give(table: Tensor, words: Mapping[int, str], vectors: Vectors) -> None:
    """Set the row (of width W) of each word that has a given vector; the others stay as they are."""
    found, known = vectors.matrix(list(words.values()))
    rows = torch.tensor(list(words), dtype=torch.int64)[torch.from_numpy(known)]
    scale = GIVEN / max(1e-6, float(found[known].std())) if known.any() else 1.0
    table[rows] = torch.from_numpy(found[known] * scale)
