"""The network that reads a window of a clip: the family's reader of signals."""

from __future__ import annotations

from torch import nn

from models.families.classify.network import LabelNetwork, SignalReader
from models.tasks.actions.schema import ActionConfig, State


class ActionNetwork(LabelNetwork[State, ActionConfig]):
    """Windows of frames to labels."""

    def build(self, state: State, config: ActionConfig) -> nn.Module:
        places = 0 if config.motion == "alone" else state.width
        return SignalReader(len(state.scale.mean), len(state.labels), config, places=places)

    def inputs(self, net: nn.Module) -> dict[str, tuple[str | int, ...]]:
        return {"frames": ("B", "T", net.features), "lengths": ("B",)}


NETWORK = ActionNetwork()
