"""Runs networks by torch, on any device. Knows modules and arrays, no task.

The fallback of the CPU where a network has no exact export, and the runtime of every GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from models import catalog
from models.task import AnyNetwork, Config, Schema


class TorchRun:
    """A `Run` over a network's own functions."""

    def __init__(self, net: nn.Module, network: AnyNetwork, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.net = net.to(self.device).eval()
        self._functions = network.functions(self.net)

    def __call__(self, function: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        called = self._functions[function]
        with torch.inference_mode():
            tensors = [torch.from_numpy(np.ascontiguousarray(inputs[name])).to(self.device) for name in called.inputs]
            outputs = called.module(*tensors)
        if isinstance(outputs, torch.Tensor):
            outputs = (outputs,)
        return {
            name: output.float().cpu().numpy() if output.is_floating_point() else output.cpu().numpy()
            for name, output in zip(called.outputs, outputs, strict=True)
        }

    def close(self) -> None:
        """Free the weights."""
        self.net.to("meta")


def load(task: str, weights: Path, *, state: Schema, config: Config, device: str = "cpu") -> TorchRun:
    """The network of a task with the weights of a file."""
    network = catalog.network(task)
    net = network.build(state, config)
    net.load_state_dict(load_file(weights))
    return TorchRun(net, network, device)
