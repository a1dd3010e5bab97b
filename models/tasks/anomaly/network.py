"""The networks that forecast a series or reconstruct its windows, and what is a mistake.

B series, N windows, T steps, W steps of a window, F numbers of a step, I inputs of a step, K horizons, H units,
S numbers of a recurrent state.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.batch import Batch
from models.nets.recurrent import Encoder, Start
from models.task import Function, Network
from models.tasks.anomaly.prepare import FACTS
from models.tasks.anomaly.schema import AnomalyConfig, State

LEVELS = (0.1, 0.5, 0.9)


class Predictor(nn.Module):
    """At each step the quantiles of the values `ahead` of it: a median and the half-widths under and over it."""

    def __init__(self, state: State, config: AnomalyConfig) -> None:
        super().__init__()
        self.inputs, self.horizons, self.width = 2 * state.width + FACTS, len(state.ahead), state.width
        self.encoder = Encoder(self.inputs, config.widths, cell=config.cell, dropout=config.dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(self.encoder.size, self.horizons * self.width * 3)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """features (B, T, I), state (B, S) -> (B, T, K * F * 3), state (B, S)."""
        steps, after = self.encoder.advance(features, state)
        return self.told(steps), after

    def whole(self, features: Tensor, lengths: Tensor) -> Tensor:
        """The same from the start: features (B, T, I), lengths (B,) -> (B, T, K, F, 3)."""
        steps, _ = self.encoder(features, lengths)
        return self.told(self.dropout(steps)).unflatten(2, (self.horizons, self.width, 3))

    def told(self, steps: Tensor) -> Tensor:
        """steps (B, T, H) -> (B, T, K * F * 3): medians as they are, half-widths above 0."""
        said = self.head(steps)
        place = torch.arange(said.shape[2], device=said.device) % 3
        return torch.where(place == 0, said, functional.softplus(said))


class Autoencoder(nn.Module):
    """A window into one state vector, repeated at every step of a decoder that writes the window again."""

    def __init__(self, state: State, config: AnomalyConfig) -> None:
        super().__init__()
        self.inputs, self.width = 2 * state.width + FACTS, state.width
        shape = {"cell": config.cell, "bidirectional": config.bidirectional, "dropout": config.dropout}
        self.encoder = Encoder(self.inputs, config.widths, **shape)
        self.dropout = nn.Dropout(config.dropout)
        self.decoder = Encoder(self.encoder.size, config.widths[::-1], **shape)
        self.head = nn.Linear(self.decoder.size, self.width)

    def forward(self, windows: Tensor, lengths: Tensor) -> Tensor:
        """windows (N, W, I), lengths (N,) -> (N, W, F)."""
        _, last = self.encoder(windows, lengths)
        repeated = self.dropout(last)[:, None].expand(-1, windows.shape[1], -1)
        steps, _ = self.decoder(repeated, lengths)
        return self.head(steps)


class AnomalyNetwork(Network[State, AnomalyConfig]):
    """Pinball loss (Koenker and Bassett 1978) of forecasts, squared error of reconstructions; both over the steps
    that teach, in spreads of the series."""

    def build(self, state: State, config: AnomalyConfig) -> nn.Module:
        return Predictor(state, config) if state.detector == "predictor" else Autoencoder(state, config)

    def loss(self, net: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        target, lengths = batch.arrays["target"], batch.arrays["lengths"]
        there = ~torch.isnan(target)
        target = torch.nan_to_num(target)
        if isinstance(net, Autoencoder):
            error = net(batch.arrays["windows"], lengths).float() - target
            return (error.square() * there).sum(), int(there.sum())
        median, below, above = net.whole(batch.arrays["features"], lengths).float().unbind(-1)
        total = sum(
            torch.maximum(level * (target - said), (level - 1) * (target - said))
            for level, said in zip(LEVELS, (median - below, median, median + above), strict=True)
        )
        return (total * there).sum(), int(there.sum())

    def functions(self, net: nn.Module) -> dict[str, Function]:
        if isinstance(net, Autoencoder):
            inputs = {"windows": ("N", "W", net.inputs), "lengths": ("N",)}
            return {"forward": Function(module=net, inputs=inputs, outputs={"values": ("N", "W", net.width)})}
        held = ("B", net.encoder.state_size)
        told = ("B", "T", net.horizons * net.width * 3)
        return {
            "start": Function(module=Start(held[1]), inputs={"lengths": ("B",)}, outputs={"state": held}),
            "forward": Function(
                module=net,
                inputs={"features": ("B", "T", net.inputs), "state": held},
                outputs={"quantiles": told, "after": held},
            ),
        }


NETWORK = AnomalyNetwork()
