"""The network that labels each frame of a recording: convolutions, a recurrent encoder, labels.

B recordings, T frames (padded), F features, C labels.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.families.tag.network import TagNetwork
from models.nets.augment import Augment, Mask
from models.nets.front import Front
from models.nets.recurrent import Encoder
from models.tasks.phonemes.schema import PhonemeConfig, State

KERNEL = 5
"""Frames that a convolution sees at once."""


class Listener(nn.Module):
    """Scores of the labels in each frame."""

    def __init__(self, features: int, labels: int, config: PhonemeConfig) -> None:
        super().__init__()
        self.features = features
        self.noise = Augment(jitter=config.jitter)
        self.mask = Mask(config.masking)
        self.front = Front(
            features,
            config.channels,
            layers=config.convolutions,
            kernel=KERNEL,
            causal=not config.bidirectional,
            dropout=config.dropout,
        )
        self.encoder = Encoder.of(config, self.front.size)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(self.encoder.size, labels)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """frames (B, T, F), lengths (B,) -> scores (B, T, C)."""
        x, _ = self.noise(frames, lengths)
        steps, _ = self.encoder(self.front(self.mask(x, lengths), lengths), lengths)
        return self.output(self.dropout(steps))


class PhonemeNetwork(TagNetwork[State, PhonemeConfig]):
    """Cross entropy over the labels of all frames."""

    def build(self, state: State, config: PhonemeConfig) -> nn.Module:
        return Listener(len(state.scale.mean), len(state.labels), config)

    def inputs(self, net: nn.Module) -> dict[str, tuple[str | int, ...]]:
        return {"frames": ("B", "T", net.features), "lengths": ("B",)}


NETWORK = PhonemeNetwork()
