"""Attention over what an encoder said. Knows vectors and which positions are real, never what they stand for.

B batch, Q queries (steps of a decoder, or beams), T positions (padded), H units of a query, M units of the memory.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Global attention of Luong et al. 2015 with their "general" score (eqs. 7 and 8): softmax(h_t' W h_s).

    The queries do not depend on each other, so a whole target is attended to in two matrix products.
    """

    def __init__(self, units: int, memory: int) -> None:
        super().__init__()
        self.general = nn.Linear(memory, units, bias=False)

    def keys(self, memory: Tensor) -> Tensor:
        """(B, T, M) -> W h_s (B, T, H): the same for every query, so computed once."""
        return self.general(memory)

    def forward(self, queries: Tensor, keys: Tensor, memory: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """queries (B, Q, H), keys (B, T, H), memory (B, T, M), real (B, T) -> contexts (B, Q, M), weights (B, Q, T)."""
        scores = torch.bmm(queries, keys.transpose(1, 2)).float().masked_fill(~real[:, None], -1e9)
        weights = scores.softmax(2)
        return torch.bmm(weights.to(memory.dtype), memory), weights
