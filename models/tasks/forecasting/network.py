"""The network that reads a window and says the quantiles of every step ahead at once.

B windows, T steps read, F features of a step, G facts of a window, h steps ahead, Q levels, H units.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.batch import Batch
from models.nets.recurrent import Encoder
from models.task import Function, Network
from models.tasks.forecasting.codec import FACTS, FEATURES, LEVELS, MEDIAN
from models.tasks.forecasting.schema import ForecastingConfig, State


class Forecaster(nn.Module):
    """Direct multi-horizon quantiles (Wen et al. 2017) that cannot cross: a median, and steps away from it
    that are positive by construction."""

    def __init__(self, horizon: int, config: ForecastingConfig) -> None:
        super().__init__()
        self.horizon = horizon
        self.encoder = Encoder.of(config, FEATURES)
        self.hidden = nn.Linear(self.encoder.size + FACTS, config.widths[-1])
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.widths[-1], horizon * len(LEVELS))
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("away", _away(), persistent=False)

    def forward(self, values: Tensor, facts: Tensor, lengths: Tensor) -> Tensor:
        """values (B, T, F), facts (B, G), lengths (B,) -> (B, h, Q), rising along Q."""
        _, last = self.encoder(values, lengths)
        read = self.dropout(functional.gelu(self.hidden(torch.cat([last, facts], dim=1))))
        said = self.head(read).reshape(-1, self.horizon, len(LEVELS))
        steps = functional.softplus(said - 1) @ self.away
        return said[:, :, MEDIAN : MEDIAN + 1] + steps


def _away() -> Tensor:
    """(Q, Q): adds up the positive steps that lead from the median to each level; the median's own is 0."""
    source, target = torch.arange(len(LEVELS))[:, None], torch.arange(len(LEVELS))
    above = (source > MEDIAN) & (source <= target)
    below = (source < MEDIAN) & (source >= target)
    return above.float() - below.float()


class ForecastingNetwork(Network[State, ForecastingConfig]):
    """Pinball loss (Koenker and Bassett 1978) over the steps that are there."""

    def build(self, state: State, config: ForecastingConfig) -> nn.Module:
        return Forecaster(state.horizon, config)

    def loss(self, net: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        said = net(batch.arrays["values"], batch.arrays["facts"], batch.arrays["lengths"]).float()
        target = batch.arrays["target"][:, :, None]
        present = ~torch.isnan(target)
        error = torch.nan_to_num(target) - said
        levels = torch.as_tensor(LEVELS, dtype=said.dtype, device=said.device)
        pinball = torch.maximum(levels * error, (levels - 1) * error) * present
        return 2 * pinball.mean(2).sum(), int(present.sum())

    def functions(self, net: nn.Module) -> dict[str, Function]:
        return {
            "forward": Function(
                module=net,
                inputs={"values": ("B", "T", FEATURES), "facts": ("B", FACTS), "lengths": ("B",)},
                outputs={"quantiles": ("B", net.horizon, len(LEVELS))},
            )
        }


NETWORK = ForecastingNetwork()
