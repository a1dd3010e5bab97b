"""Networks that give every step a label: the loss, and what is exported. Knows no kind of step.

B rows or windows of them, T steps (padded), C labels.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.batch import Batch
from models.families.tag.codec import UNTAUGHT, TagStateT
from models.task import ConfigT, Function, Network, Vectors


class TagNetwork(Network[TagStateT, ConfigT]):
    """Cross entropy at each step. The net gives scores (B, T, C) first; its `output` is the linear layer they
    come from."""

    @abstractmethod
    def inputs(self, net: nn.Module) -> dict[str, tuple[str | int, ...]]:
        """The arrays that the net reads, in the order of its `forward`, with their axes."""

    def initialise(self, net: nn.Module, state: TagStateT, config: ConfigT, vectors: Vectors | None) -> None:
        """A fresh net guesses each label as often as it stands in the training part, and one step more."""
        counts = torch.tensor(state.counts, dtype=torch.float32) + 1
        net.output.bias.data = torch.log(counts / counts.sum())

    def names(self, state: TagStateT) -> Mapping[str, tuple[Sequence[Hashable], ...]]:
        return {"output.weight": (state.labels,), "output.bias": (state.labels,)}

    def loss(self, net: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        scores, labels = net(*self.asked(net, batch)).float(), batch.arrays["labels"]
        total = functional.cross_entropy(scores.flatten(0, 1), labels.flatten(), ignore_index=UNTAUGHT, reduction="sum")
        return total, int((labels != UNTAUGHT).sum())

    def asked(self, net: nn.Module, batch: Batch) -> list[Tensor]:
        """What of a batch the net reads."""
        return [batch.arrays[name] for name in self.inputs(net)]

    def outputs(self, net: nn.Module) -> dict[str, tuple[str | int, ...]]:
        """The arrays that the net gives, in order, with their axes."""
        return {"scores": ("B", "T", net.output.out_features)}

    def functions(self, net: nn.Module) -> dict[str, Function]:
        return {"forward": Function(module=net, inputs=self.inputs(net), outputs=self.outputs(net))}
