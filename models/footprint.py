"""How much memory a version takes on a device: at rest, and beside that for each padded step of a forward pass.

Measured by running it. Knows the contract of a task, no task and no torch. In a process where other things go on
the figures would be theirs as well, so `python -m models.footprint FOLDER DEVICE THREADS PRECISION` measures in one
of its own.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import psutil

from models import artifact, predictor
from models.devices import give_back
from models.predictor import Precision, Predictor

STEPS = 1024
"""Padded steps of the larger of the two forward passes that are measured; the smaller has an eighth of them."""
MOST_ITEMS = 1024
PREPACKED = 2
"""The runtime of the CPU keeps the weights of recurrent layers in an order of its own beside the graph's."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes that a version takes."""

    rest: int
    """While nothing runs."""
    fixed: int = 0
    """More during any forward pass."""
    step: float = 0.0
    """More for each padded step of it: items times the longest of them."""

    def working(self, steps: int) -> int:
        """Bytes that a forward pass of so many padded steps takes beside what is held at rest."""
        return self.fixed + math.ceil(self.step * steps)

    def steps(self, room: int) -> int | None:
        """Padded steps of the largest forward pass that keeps to so many bytes, at least 1; None: any."""
        return max(1, int((room - self.fixed) / self.step)) if self.step else None


class Meter(Protocol):
    """Tells how much memory is held."""

    def begin(self) -> None:
        """Forget the peak."""
        ...

    def held(self) -> int:
        """Bytes now."""
        ...

    def peak(self) -> int:
        """The most bytes since `begin`."""
        ...


class ProcessMeter:
    """The memory of this process. Only Linux can forget a peak; elsewhere it is the peak of the process's life."""

    def begin(self) -> None:
        if sys.platform == "linux":
            Path("/proc/self/clear_refs").write_text("5")

    def held(self) -> int:
        return int(psutil.Process().memory_info().rss)

    def peak(self) -> int:
        if sys.platform == "linux":
            lines = Path("/proc/self/status").read_text().splitlines()
            return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        resource = importlib.import_module("resource")  # not on every system
        return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


class AcceleratorMeter:
    """The memory that torch holds on one CUDA device. Written for GPUs; none was at hand to run it."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.cuda: Any = importlib.import_module("torch").cuda

    def begin(self) -> None:
        self.cuda.reset_peak_memory_stats(self.device)

    def held(self) -> int:
        return int(self.cuda.memory_allocated(self.device))

    def peak(self) -> int:
        return int(self.cuda.max_memory_allocated(self.device))


def estimated(folder: Path, device: str) -> Footprint:
    """What a version holds at rest by the size of its files; nothing is known of its forward passes."""
    graphs = [path.stat().st_size for path in folder.glob("net*.onnx")]
    if device == "cpu" and graphs:
        return Footprint(rest=PREPACKED * sum(graphs))
    return Footprint(rest=(folder / artifact.WEIGHTS).stat().st_size)


def measured(load: Callable[[], Predictor], meter: Meter, device: str) -> Footprint:
    """Load a version, let it answer in two sizes, and see what that took."""
    _ready(load()).close()  # the libraries that came along serve every version
    give_back(device)
    before = meter.held()
    held = _ready(load())
    give_back(device)
    rest = max(0, meter.held() - before)
    params = held.codec.card.params()
    examples = [held.prepare(item, params) for item in held.codec.probes(held.state)]
    longest = max(examples, key=lambda example: example.length)
    most = min(MOST_ITEMS, max(8, math.ceil(STEPS / longest.length)))
    sizes = (most // 8, most)
    taken = []
    for count in sizes:
        give_back(device)
        meter.begin()
        quiet = meter.held()
        held.answer([longest] * count, params)
        taken.append(max(0, meter.peak() - quiet))
    less, more = (count * longest.length for count in sizes)
    step = max(0.0, (taken[1] - taken[0]) / (more - less))
    held.close()
    return Footprint(rest=rest, fixed=max(0, math.ceil(taken[0] - step * less)), step=step)


def _ready(held: Predictor) -> Predictor:
    """After its first answer, for what that leaves behind is held at rest."""
    held.probe()
    return held


def main(folder: str, device: str, threads: str, precision: str) -> None:
    """Measure and print."""
    meter: Meter = AcceleratorMeter(device) if device.startswith("cuda") else ProcessMeter()

    def load() -> Predictor:
        return predictor.load(Path(folder), threads=int(threads), device=device, precision=cast("Precision", precision))

    print(json.dumps(asdict(measured(load, meter, device))))


if __name__ == "__main__":
    main(*sys.argv[1:])
