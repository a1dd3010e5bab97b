"""Runs networks by torch, on any device. Knows modules and arrays, no task.

The fallback of the CPU where a network has no exact export, and the runtime of every GPU. What concerns CUDA alone
(streams, pinned copies, reduced precision) was written for GPUs; none was at hand to run it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from models import catalog
from models.memory import out_of_memory
from models.task import AnyNetwork, Config, Schema

REDUCED = {"bf16": torch.bfloat16, "fp16": torch.float16}


class TorchRun:
    """A `Run` over a network's own functions. Safe to call from several threads; on CUDA each has its own stream."""

    def __init__(self, net: nn.Module, network: AnyNetwork, device: str = "cpu", *, precision: str = "fp32") -> None:
        self.device, self.precision = torch.device(device), precision
        self.net = net.to(self.device).eval()
        self._functions = network.functions(self.net)
        self._own = threading.local()

    def __call__(self, function: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Raises `MemoryError` where the device does not hold the forward pass."""
        called = self._functions[function]
        try:
            with torch.inference_mode(), self._stream(), self._reduced():
                outputs = called.module(*(self._moved(inputs[name]) for name in called.inputs))
                if isinstance(outputs, torch.Tensor):
                    outputs = (outputs,)
                return {name: _array(output) for name, output in zip(called.outputs, outputs, strict=True)}
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            raise MemoryError(f"{self.device} does not hold this forward pass") from error

    def _moved(self, array: np.ndarray) -> Tensor:
        """To the device; on CUDA from pinned memory, so that the copy goes on beside other streams' work."""
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    @contextlib.contextmanager
    def _stream(self) -> Iterator[None]:
        """This thread's own stream, which begins when the weights are there."""
        if self.device.type != "cuda":
            yield
            return
        if not hasattr(self._own, "stream"):
            self._own.stream = torch.cuda.Stream(self.device)
            self._own.stream.wait_stream(torch.cuda.default_stream(self.device))
        with torch.cuda.stream(self._own.stream):
            yield

    def _reduced(self) -> contextlib.AbstractContextManager[object]:
        dtype = REDUCED.get(self.precision)
        return torch.autocast(self.device.type, dtype=dtype) if dtype else contextlib.nullcontext()

    def close(self) -> None:
        """Free the weights."""
        self.net.to("meta")


def _array(output: Tensor) -> np.ndarray:
    return output.float().cpu().numpy() if output.is_floating_point() else output.cpu().numpy()


def load(
    task: str, weights: Path, *, state: Schema, config: Config, device: str = "cpu", precision: str = "fp32"
) -> TorchRun:
    """The network of a task with the weights of a file."""
    network = catalog.network(task)
    net = network.build(state, config)
    net.load_state_dict(load_file(weights))
    return TorchRun(net, network, device, precision=precision)
