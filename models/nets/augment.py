"""Other versions of the same signal, for learning. Knows numbers over time, never what they stand for.

B batch, T time steps (padded), F features. After Um et al. 2017, *Data augmentation of wearable sensor data*.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Augment(nn.Module):
    """Jitter, scaling, shifting, time warping and cropping, each by its share; the identity when not learning.

    Only the first `places` features are shifted: a shift does not change how a thing moves.
    """

    def __init__(
        self,
        *,
        jitter: float = 0.0,
        scaling: float = 0.0,
        shifting: float = 0.0,
        warping: float = 0.0,
        cropping: float = 0.0,
        places: int = 0,
    ) -> None:
        super().__init__()
        self.jitter, self.scaling, self.shifting, self.places = jitter, scaling, shifting, places
        self.warping, self.cropping = warping, cropping

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, T, F), lengths (B,) from 1 to T -> the same, shorter where cropped."""
        if not self.training:
            return x, lengths
        if self.warping or self.cropping:
            x, lengths = self._resampled(x, lengths)
        if self.scaling:
            x = x * (1 + self.scaling * torch.randn(x.shape[0], 1, x.shape[2], device=x.device, dtype=x.dtype))
        if self.shifting and self.places:
            shift = self.shifting * torch.randn(x.shape[0], 1, self.places, device=x.device, dtype=x.dtype)
            x = x + functional.pad(shift, (0, x.shape[2] - self.places))
        if self.jitter:
            x = x + self.jitter * torch.randn_like(x)
        return x, lengths

    def _resampled(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """A piece of each row, read at a speed that varies along one arch of a sine. One batch loses one
        share, so that rows of equal length stay equal: they run faster."""
        kept = 1 - self.cropping * float(torch.rand(()))
        shorter = (lengths * kept).round().long().clamp(min=1)
        rows, steps = x.shape[0], int(shorter.max())
        start = torch.rand(rows, 1, device=x.device) * (lengths - shorter)[:, None]
        along = torch.arange(steps, device=x.device) / (shorter - 1).clamp(min=1)[:, None]  # (B, T), 0 to 1
        along = along.clamp(max=1.0)
        bend = self.warping * (2 * torch.rand(rows, 1, device=x.device) - 1)
        place = start + (along + bend * torch.sin(math.pi * along) / math.pi) * (shorter - 1)[:, None]
        below = place.floor().long()
        above = torch.minimum(below + 1, (lengths - 1)[:, None])
        share = (place - below)[:, :, None].to(x.dtype)
        wide = (-1, -1, x.shape[2])
        lower, upper = (x.gather(1, at[:, :, None].expand(wide)) for at in (below, above))
        return torch.lerp(lower, upper, share), shorter


class Mask(nn.Module):
    """Hides one stretch of neighbouring features and one of steps of each row, set to zero; each is of a random
    width up to a share (SpecAugment; Park et al. 2019). The identity when not learning."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x (B, T, F), lengths (B,) -> (B, T, F)."""
        if not self.training or not self.share:
            return x
        steps = self._hidden(x.shape[1], lengths)
        features = self._hidden(x.shape[2], torch.full_like(lengths, x.shape[2]))
        return x.masked_fill(steps[:, :, None] | features[:, None, :], 0.0)

    def _hidden(self, size: int, lengths: Tensor) -> Tensor:
        """(B, size): a stretch within each length (B,)."""
        width = torch.rand(len(lengths), device=lengths.device) * self.share * lengths
        start = torch.rand(len(lengths), device=lengths.device) * (lengths - width)
        place = torch.arange(size, device=lengths.device)[None, :] + 0.5
        return (place > start[:, None]) & (place < (start + width)[:, None])
