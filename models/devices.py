"""What accelerators there are, how much they hold, and where a model goes. Knows no model and imports no torch.

NVIDIA devices are seen through NVML, so that a process without torch can count them; where torch is
loaded already its own view joins. What was run on a GPU: nothing yet; the logic is tested with `FakeProbe`.
"""

from __future__ import annotations

import ctypes
import importlib
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import psutil


class NoRoom(Exception):
    """No device can hold what is asked; a sentence with the bytes."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """One place where arithmetic can run. Memory in bytes."""

    id: str
    kind: str
    name: str
    memory_total: int
    memory_free: int
    precisions: tuple[str, ...]

    @property
    def precision(self) -> str:
        """What training with `precision: auto` uses: bf16 where the hardware multiplies it natively."""
        return "bf16" if self.kind == "cuda" and "bf16" in self.precisions else "fp32"


class Probe(Protocol):
    """Looks at a machine."""

    def devices(self) -> list[Device]: ...


@dataclass(frozen=True)
class FakeProbe:
    """A machine made up: for tests, and for trying placements before buying."""

    found: Sequence[Device]

    def devices(self) -> list[Device]:
        return list(self.found)


class SystemProbe:
    """This machine."""

    def devices(self) -> list[Device]:
        return [*_nvidia(), *_apple(), _cpu()]


def _cpu() -> Device:
    memory = psutil.virtual_memory()
    return Device(
        id="cpu",
        kind="cpu",
        name=platform.processor() or platform.machine(),
        memory_total=memory.total,
        memory_free=memory.available,
        precisions=("fp32", "bf16"),
    )


@lru_cache(maxsize=1)
def _nvml() -> Any:
    """NVML's binding; None without NVIDIA's driver: the binding alone takes a twentieth of a service's start."""
    if sys.platform == "linux":
        try:
            ctypes.CDLL("libnvidia-ml.so.1")
        except OSError:
            return None
    return importlib.import_module("pynvml")


def _nvidia() -> Iterable[Device]:
    pynvml = _nvml()
    if pynvml is None:
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            major, _ = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
            yield Device(
                id=f"cuda:{index}",
                kind="cuda",
                name=str(pynvml.nvmlDeviceGetName(handle)),
                memory_total=int(memory.total),
                memory_free=int(memory.free),
                precisions=("fp32", "fp16", "bf16") if major >= 8 else ("fp32", "fp16"),
            )
    finally:
        pynvml.nvmlShutdown()


def _apple() -> Iterable[Device]:
    """Apple's GPU shares the machine's memory. Torch alone can tell whether it may be used."""
    torch = sys.modules.get("torch")
    if sys.platform != "darwin" or platform.machine() != "arm64" or (torch and not torch.backends.mps.is_available()):
        return
    memory = psutil.virtual_memory()
    yield Device(
        id="mps",
        kind="mps",
        name="Apple GPU",
        memory_total=memory.total,
        memory_free=memory.available,
        precisions=("fp32", "fp16"),
    )


def give_back(device: str) -> None:
    """Return memory that is held and used no more to the machine: the C library keeps freed pages for the next
    request, and torch's allocator keeps those of an accelerator."""
    if device == "cpu":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
        if trim is not None:  # it is glibc's alone
            trim(0)
        return
    torch = sys.modules.get("torch")
    if torch is not None and device.startswith("cuda"):
        torch.cuda.empty_cache()
    elif torch is not None and device == "mps":
        torch.mps.empty_cache()


def inventory(probe: Probe | None = None) -> list[Device]:
    """The devices of this machine, fastest kind first, the CPU last; never empty."""
    order = {"cuda": 0, "mps": 1, "cpu": 2}
    return sorted((probe or SystemProbe()).devices(), key=lambda device: (order[device.kind], device.id))


def place(
    devices: Sequence[Device], *, need: int, wanted: str = "auto", budget: int | None = None, used: Mapping[str, int]
) -> Device:
    """The device for a model of `need` bytes.

    `wanted` is an id, a kind, or "auto": the fastest kind with room. Among devices of one kind the one
    with the most room. `used` is what we already hold on each; `budget` bounds that per device.
    Raises `NoRoom`.
    """
    fitting = [device for device in devices if wanted in {"auto", device.id, device.kind}]
    if not fitting:
        raise NoRoom(f"no device '{wanted}'; there are: {', '.join(device.id for device in devices)}")

    def room(device: Device) -> int:
        left = device.memory_free
        return left if budget is None else min(left, budget - used.get(device.id, 0))

    kinds = list(dict.fromkeys(device.kind for device in fitting))
    for kind in kinds:
        best = max((device for device in fitting if device.kind == kind), key=room)
        if room(best) >= need:
            return best
    most = max(fitting, key=room)
    raise NoRoom(f"{need} bytes are needed, {max(0, room(most))} are free on {most.id}")


def ranks(devices: Sequence[Device], device: str, size: int) -> list[str]:
    """Where each of `size` processes that share one training computes: a GPU each, or all on the one CPU.

    The first is on `device`. Raises `NoRoom` where there are fewer GPUs than processes.
    """
    kind = device.partition(":")[0]
    if size == 1 or kind == "cpu":
        return [device] * size
    others = [found.id for found in devices if found.kind == kind and found.id != device]
    if 1 + len(others) < size:
        raise NoRoom(f"{size} processes need a device each; there are {1 + len(others)} of the kind '{kind}'")
    return [device, *others[: size - 1]]
