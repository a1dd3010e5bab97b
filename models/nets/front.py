"""Convolutions over time before a recurrent encoder. Knows steps and lengths, never what they stand for.

B batch, T time steps (padded), F features, C channels, S numbers of a state.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.nets.pooling import held


class Front(nn.Module):
    """Layers of convolution, normalisation and rectifier; as many steps come out as go in.

    Each layer reads zeros before the first and after the last step of a sequence, however much padding
    stands there: alone or in a batch it says the same. A causal front looks at no later step.
    """

    def __init__(self, features: int, channels: int, *, layers: int, kernel: int, causal: bool, dropout: float) -> None:
        super().__init__()
        inputs = [features, *[channels] * (layers - 1)][:layers]
        self.convolutions = nn.ModuleList(nn.Conv1d(size, channels, kernel) for size in inputs)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in inputs)
        self.dropout = nn.Dropout(dropout)
        self.before, self.after = (kernel - 1, 0) if causal else (kernel // 2, kernel // 2)
        self.size = channels if layers else features
        """Width of what `forward` returns."""
        self.state_sizes = [(kernel - 1) * size for size in inputs]
        self.state_size = sum(self.state_sizes)
        """S: the width of the flat state that `advance` takes and gives."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x (B, T, F), lengths (B,) -> (B, T, size); without layers, x itself."""
        mask = held(x, lengths)
        for index, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            read = functional.pad((x * mask).transpose(1, 2), (self.before, self.after))
            said = functional.relu(norm(convolution(read).transpose(1, 2)))
            x = x + self.dropout(said) if index else self.dropout(said)
        return x

    def advance(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Go on from a state: x (B, T, F), every step real, state (B, S) -> (B, T, size), state (B, S).

        The same steps as `forward` over all that was read since the start, which is a state of zeros: the last
        steps that each layer read. Raises ValueError where a layer looks at later steps.
        """
        if self.after:
            raise ValueError(
                "a front that is not causal needs the whole sequence at once and cannot go on from a state"
            )
        parts = state.split(self.state_sizes, 1) if self.state_size else ()
        after = []
        for index, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            read = x
            if parts:
                read = torch.cat([parts[index].reshape(x.shape[0], self.before, -1), x], dim=1)
                after.append(read[:, x.shape[1] :].flatten(1))
            said = functional.relu(norm(convolution(read.transpose(1, 2)).transpose(1, 2)))
            x = x + said if index else said
        return x, torch.cat(after, dim=1) if after else state
