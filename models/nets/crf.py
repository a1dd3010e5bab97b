"""The linear-chain conditional random field (Lafferty et al. 2001), for learning. Knows labels by number alone.

B chains, T steps (padded), C labels. What it learns serves without it: `forward` gives scores and transitions,
and `models.families.tag.chain` finds paths and probabilities of these.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

NEVER = -1e4
"""The score of what cannot be: its probability is 0, and no arithmetic becomes infinite."""


class Crf(nn.Module):
    """Learnt scores of labels that follow each other, begin and end; those not allowed never do."""

    def __init__(self, allowed: Tensor, starts: Tensor) -> None:
        """allowed (C, C) bool, from row to column; starts (C,) bool: labels that may stand first."""
        super().__init__()
        self.transitions = nn.Parameter(torch.zeros(allowed.shape))
        self.starts = nn.Parameter(torch.zeros(starts.shape))
        self.ends = nn.Parameter(torch.zeros(starts.shape))
        self.register_buffer("barred", torch.where(allowed, 0.0, NEVER), persistent=False)
        self.register_buffer("barred_starts", torch.where(starts, 0.0, NEVER), persistent=False)

    def forward(self, emissions: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """emissions (B, T, C), lengths (B,) -> scores (B, T, C), with start and end in the first and last step's,
        and transitions (B, C, C), the same for each chain."""
        steps = torch.arange(emissions.shape[1], device=emissions.device)[None, :, None]
        first, last = steps == 0, steps == (lengths - 1)[:, None, None]
        scores = emissions + first * (self.starts + self.barred_starts) + last * self.ends
        transitions = (self.transitions + self.barred).expand(emissions.shape[0], -1, -1)
        return scores, transitions


def negative_log_likelihood(scores: Tensor, transitions: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
    """scores (B, T, C), transitions (B, C, C), labels (B, T) within lengths (B,) -> (B,): how unlikely each
    chain's labels are among all its paths."""
    steps = torch.arange(scores.shape[1], device=scores.device)
    within = steps < lengths[:, None]
    path = labels.clamp(min=0)
    chosen = scores.gather(2, path[:, :, None])[:, :, 0]
    moves = transitions[0][path[:, :-1], path[:, 1:]]
    truth = (chosen * within).sum(1) + (moves * within[:, 1:]).sum(1)
    total = scores[:, 0]
    for t in range(1, scores.shape[1]):
        reached = torch.logsumexp(total[:, :, None] + transitions, dim=1) + scores[:, t]
        total = torch.where(within[:, t, None], reached, total)
    return torch.logsumexp(total, dim=1) - truth
