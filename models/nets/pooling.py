"""Many steps to one vector. Knows steps and lengths, never what they stand for.

B batch, T time steps (padded), H width of a step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Pooling(nn.Module):
    """What a sequence says as a whole; padding never changes it.

    ``mean_max``: the greatest and the mean over all steps, (B, 2*H); ``last``: the last state read in each
    direction, (B, H); ``attention``: the mean weighted by a learnt score of each step (Raffel and Ellis
    2015), (B, H).
    """

    def __init__(self, kind: str, width: int) -> None:
        super().__init__()
        self.kind = kind
        self.size = 2 * width if kind == "mean_max" else width
        """Width of what `forward` returns."""
        if kind == "attention":
            self.score = nn.Linear(width, 1)

    def forward(self, steps: Tensor, last: Tensor, lengths: Tensor) -> Tensor:
        """steps (B, T, H), zero past the end, last (B, H), lengths (B,) -> (B, size)."""
        if self.kind == "last":
            return last
        mask = held(steps, lengths)
        if self.kind == "attention":
            scores = self.scores(steps).masked_fill(~mask, -1e4)
            return (torch.softmax(scores, dim=1) * steps).sum(1)
        mean = (steps * mask).sum(1) / lengths[:, None]
        greatest = steps.masked_fill(~mask, -1e4).amax(1)
        return torch.cat([greatest, mean], dim=1)

    def scores(self, steps: Tensor) -> Tensor:
        """steps (B, T, H) -> the attention that each is due, (B, T, 1), as a logarithm; of a pooling by attention."""
        return self.score(torch.tanh(steps))


def held(x: Tensor, lengths: Tensor) -> Tensor:
    """Which steps of x (B, T, ...) lie within lengths (B,): (B, T, 1)."""
    return (torch.arange(x.shape[1], device=x.device) < lengths[:, None])[:, :, None]
