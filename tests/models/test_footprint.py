"""How much memory a version takes: by formula, as a meter tells it, and in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from models.batch import Example
from models.footprint import Footprint, estimated, measured
from models.predictor import Predictor
from models.runtimes.export import export
from models.task import Params
from tests.models.test_runtimes import Last, Sole, batch

LENGTH, REST, FIXED, STEP = 16, 5000, 700, 3.0


class Scripted:
    """A version, and the meter that watches it: both follow the formula."""

    def __init__(self) -> None:
        self.bytes = self.most = 100
        self.codec = SimpleNamespace(card=SimpleNamespace(params=Params), probes=lambda state: ["item"])
        self.state = None

    def load(self) -> Predictor:
        self.bytes += REST
        return cast(Predictor, self)

    def probe(self) -> None: ...

    def prepare(self, item: Any, params: Params) -> Example:
        return Example(arrays={}, length=LENGTH)

    def answer(self, examples: Sequence[Example], params: Params) -> list[Any]:
        self.most = max(self.most, self.bytes + FIXED + int(STEP * LENGTH * len(examples)))
        return []

    def close(self) -> None:
        self.bytes -= REST

    def begin(self) -> None:
        self.most = self.bytes

    def held(self) -> int:
        return self.bytes

    def peak(self) -> int:
        return self.most


def test_what_a_meter_tells_becomes_the_formula() -> None:
    scripted = Scripted()
    found = measured(scripted.load, scripted, "cpu")
    assert found == Footprint(rest=REST, fixed=FIXED, step=STEP)
    assert scripted.held() == 100, "what was loaded to be measured is let go"
    assert found.working(100) == FIXED + 300
    assert found.steps(FIXED + 300) == 100
    assert found.steps(0) == 1, "one step must always go"
    assert Footprint(rest=1).steps(10) is None


@pytest.fixture
def graphs(tmp_path: Path) -> Path:
    """A network's graphs, of no task."""
    sole = Sole()

    def ask(run: Any) -> None:
        for each in (batch(4, 1, 7), batch(3)):
            run("forward", each.arrays)

    assert export(sole, Last(None, widths=(64, 64)), ask, tmp_path) is None
    return tmp_path


def test_by_its_files_a_version_takes_its_graphs_twice_over_or_its_weights(graphs: Path) -> None:
    (graphs / "weights.safetensors").write_bytes(bytes(1000))
    assert estimated(graphs, "cpu").rest == 2 * (graphs / "net.onnx").stat().st_size
    assert estimated(graphs, "cuda:0").rest == 1000


POOR = """
import resource, sys
from pathlib import Path
import numpy as np
from models.runtimes.onnx_run import OnnxRun
run = OnnxRun(Path(sys.argv[1]))
most = 700 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (most, most))
try:
    run("forward", {"values": np.zeros((64, 20_000, 2), np.float32), "lengths": np.full(64, 20_000, np.int64)})
except MemoryError as error:
    print(error)
print(run("forward", {"values": np.zeros((1, 3, 2), np.float32), "lengths": np.full(1, 3, np.int64)})["last"].shape)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds a process's memory")
def test_a_forward_pass_that_memory_does_not_hold_is_a_memory_error_and_the_next_one_runs(graphs: Path) -> None:
    done = subprocess.run([sys.executable, "-c", POOR, str(graphs)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["the memory does not hold this forward pass", "(1, 128)"]
