"""Networks that give a whole row one label: the loss, and the reader of signals. Knows no kind of row.

B rows, T time steps (padded), F features, C labels.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.batch import Batch
from models.families.classify.codec import LabelStateT
from models.families.classify.schema import SignalConfig
from models.nets.augment import Augment
from models.nets.front import Front
from models.nets.pooling import Pooling
from models.nets.recurrent import Encoder
from models.task import ConfigT, Function, Network, Vectors

SMOOTHING = 0.05
"""Share of the truth that cross entropy gives to all labels alike while learning."""


class LabelNetwork(Network[LabelStateT, ConfigT]):
    """Cross entropy over labels, slightly smoothed. The net's `output` is its last, linear layer."""

    @abstractmethod
    def inputs(self, net: nn.Module) -> dict[str, tuple[str | int, ...]]:
        """The arrays that the net reads, in the order of its `forward`, with their axes."""

    def initialise(self, net: nn.Module, state: LabelStateT, config: ConfigT, vectors: Vectors | None) -> None:
        """A fresh net guesses each label as often as it stands in the training part."""
        shares = torch.tensor(state.counts, dtype=torch.float32)
        net.output.bias.data = torch.log(shares / shares.sum())

    def names(self, state: LabelStateT) -> Mapping[str, tuple[Sequence[Hashable], ...]]:
        return {"output.weight": (state.labels,), "output.bias": (state.labels,)}

    def loss(self, net: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        labels = batch.arrays["label"]
        logits = net(*(batch.arrays[name] for name in self.inputs(net))).float()
        smoothing = SMOOTHING if net.training else 0.0
        total = functional.cross_entropy(logits, labels, ignore_index=-1, reduction="sum", label_smoothing=smoothing)
        return total, int((labels >= 0).sum())

    def functions(self, net: nn.Module) -> dict[str, Function]:
        outputs = {"logits": ("B", net.output.out_features)}
        return {"forward": Function(module=net, inputs=self.inputs(net), outputs=outputs)}


class SignalReader(nn.Module):
    """Logits of feature vectors over time: convolutions, a recurrent encoder, pooling, labels."""

    def __init__(self, features: int, labels: int, config: SignalConfig, *, places: int = 0) -> None:
        """`places`: how many features, from the first, say where something is and not how it changes."""
        super().__init__()
        self.features = features
        self.augment = Augment(
            jitter=config.jitter,
            scaling=config.scaling,
            shifting=config.shifting,
            warping=config.warping,
            cropping=config.cropping,
            places=places,
        )
        self.front = Front(
            features,
            config.channels,
            layers=config.convolutions,
            kernel=config.kernel,
            causal=not config.bidirectional,
            dropout=config.dropout,
        )
        self.encoder = Encoder.of(config, self.front.size)
        self.pooling = Pooling(config.pooling, self.encoder.size)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(self.pooling.size, labels)

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """values (B, T, F), lengths (B,) -> logits (B, C)."""
        return self.judge(*self.augment(values, lengths))

    def judge(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x (B, T, F) as it is, lengths (B,) -> logits (B, C)."""
        steps, last = self.encoder(self.front(x, lengths), lengths)
        return self.output(self.dropout(self.pooling(steps, last, lengths)))
