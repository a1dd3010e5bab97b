"""An export is kept only where it says what torch says; else the network stays with torch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.batch import Batch
from models.nets.recurrent import CELLS, Encoder
from models.runtimes.export import Recorder, export
from models.runtimes.onnx_run import OnnxRun, filename
from models.runtimes.run import Run
from models.runtimes.torch_run import TorchRun
from models.task import Config, Function, Network, Schema


class Last(nn.Module):
    """The last state of an encoder, and whatever a test breaks."""

    def __init__(self, fault: str | None, *, cell: str = "lstm", widths: tuple[int, ...] = (5, 3)) -> None:
        super().__init__()
        self.encoder, self.fault = Encoder(2, widths, cell=cell, bidirectional=True), fault

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """values (B, T, 2), lengths (B,) -> (B, T, 2H), (B, 2H)."""
        steps, last = self.encoder(values, lengths)
        if self.fault == "constant":  # the tracer keeps the first batch's longest length as a number
            last = last * float(lengths.max())
        if self.fault == "unexportable":
            last = last + torch.linalg.eigvals(values.transpose(1, 2) @ values).real.sum()
        return steps, last


class Sole(Network[Schema, Config]):
    def build(self, state: Schema, config: Config) -> nn.Module:
        return Last(None)

    def loss(self, net: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        raise AssertionError("this network is exported and run, never trained")

    def functions(self, net: nn.Module) -> dict[str, Function]:
        inputs = {"values": ("B", "T", 2), "lengths": ("B",)}
        outputs = {"steps": ("B", "T", "U"), "last": ("B", "U")}
        return {"forward": Function(module=net, inputs=inputs, outputs=outputs)}


def batch(*lengths: int, seed: int = 0) -> Batch:
    values = np.random.default_rng(seed).normal(size=(len(lengths), max(lengths), 2)).astype(np.float32)
    return Batch(arrays={"values": values, "lengths": np.array(lengths, dtype=np.int64)})


RAGGED = [batch(4, 1, 7), batch(3), batch(2, 2, 9, 1, 5, seed=1)]


def asking(*batches: Batch) -> Callable[[Run], None]:
    def ask(run: Run) -> None:
        for ragged in batches:
            run("forward", ragged.arrays)

    return ask


def net(fault: str | None = None, **options: object) -> Last:
    torch.manual_seed(0)
    return Last(fault, **options).eval()  # type: ignore[arg-type]


class Advance(nn.Module):
    """An encoder as a function that goes on from a state."""

    def __init__(self, cell: str) -> None:
        super().__init__()
        self.encoder = Encoder(2, [5, 3], cell=cell)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, T, 2), state (B, S) -> (B, T, 3), (B, S)."""
        return self.encoder.advance(x, state)


class Going(Sole):
    """A network of the one function `advance`, of any number of steps or of one at a time."""

    def __init__(self, steps: str | int) -> None:
        self.steps = steps

    def functions(self, net: nn.Module) -> dict[str, Function]:
        size = net.encoder.state_size
        inputs = {"x": ("B", self.steps, 2), "state": ("B", size)}
        outputs = {"steps": ("B", self.steps, 3), "state_after": ("B", size)}
        return {"advance": Function(module=net, inputs=inputs, outputs=outputs)}


@pytest.mark.parametrize("steps", ["T", 1])
@pytest.mark.parametrize("cell", CELLS)
def test_an_encoder_that_goes_on_from_a_state_exports_exactly(cell: str, steps: str | int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    held, network, random = Advance(cell).eval(), Going(steps), np.random.default_rng(0)

    def arrays(size: int, steps: int) -> dict[str, np.ndarray]:
        x = random.normal(size=(size, steps, 2)).astype(np.float32)
        return {"x": x, "state": np.zeros((size, held.encoder.state_size), np.float32)}

    asked = arrays(2, 1 if steps == 1 else 4)
    assert export(network, held, lambda run: run("advance", asked), tmp_path) is None
    one, other = TorchRun(held, network), OnnxRun(tmp_path)
    expected = found = arrays(3, 1)
    for count in (1, 1, 1) if steps == 1 else (1, 7, 2):
        expected, found = ({**arrays(3, count), "state": given["state"]} for given in (expected, found))
        found["x"] = expected["x"]
        said, told = one("advance", expected), other("advance", found)
        for name, array in said.items():
            np.testing.assert_allclose(told[name], array, atol=1e-5, rtol=1e-5)
        expected["state"], found["state"] = said["state_after"], told["state_after"]


@pytest.mark.parametrize("cell", CELLS)
def test_packed_layers_of_unequal_width_export_exactly(cell: str, tmp_path: Path) -> None:
    held = net(cell=cell)
    assert export(Sole(), held, asking(RAGGED[0]), tmp_path) is None
    one, other = TorchRun(held, Sole()), OnnxRun(tmp_path)
    for ragged in [*RAGGED, batch(6, 6, 6, seed=2), batch(1, 50, 200, seed=3)]:
        expected, found = one("forward", ragged.arrays), other("forward", ragged.arrays)
        assert list(found) == list(expected) == ["steps", "last"]
        for name, array in expected.items():
            assert array.dtype == found[name].dtype == np.float32
            np.testing.assert_allclose(found[name], array, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("fault", "sentence"), [("constant", "differs from torch by"), ("unexportable", "cannot be exported")]
)
def test_what_is_not_exact_is_not_kept_and_the_reason_is_said(fault: str, sentence: str, tmp_path: Path) -> None:
    reason = export(Sole(), net(fault), asking(*RAGGED), tmp_path)
    assert reason is not None
    assert sentence in reason
    assert list(tmp_path.iterdir()) == []


def test_a_function_that_nothing_calls_is_no_export(tmp_path: Path) -> None:
    reason = export(Sole(), net(), asking(), tmp_path)
    assert reason == "the network cannot be exported: the function 'forward' was never called"
    assert list(tmp_path.iterdir()) == []


def test_what_is_checked_is_spread_over_a_long_conversation() -> None:
    recorder = Recorder(lambda _function, inputs: dict(inputs), 8)
    for step in range(100):
        recorder("step", {"at": np.array([step])})
    assert [int(inputs["at"][0]) for inputs, _ in recorder.calls["step"]] == [0, 1, 2, 3, 4, 8, 16, 32]


def test_several_threads_get_their_own_answers(tmp_path: Path) -> None:
    assert export(Sole(), net(), asking(*RAGGED), tmp_path) is None
    run = OnnxRun(tmp_path)
    expected = [run("forward", ragged.arrays)["last"] for ragged in RAGGED]
    right: list[bool] = []

    def ask(index: int) -> None:
        right.extend(np.array_equal(run("forward", RAGGED[index].arrays)["last"], expected[index]) for _ in range(50))

    threads = [threading.Thread(target=ask, args=(index,)) for index in (0, 1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(right) == 150
    assert all(right)


def test_each_function_has_its_file() -> None:
    assert filename("forward") == "net.onnx"
    assert filename("encode") == "net.encode.onnx"


def test_memory_that_runs_out_in_torch_is_a_memory_error_and_another_fault_is_itself() -> None:
    class Large(Sole):
        fault: Exception = torch.OutOfMemoryError("CUDA out of memory")

        def functions(self, net: nn.Module) -> dict[str, Function]:
            def forward(*_: Tensor) -> Tensor:
                raise self.fault

            net.forward = forward  # type: ignore[method-assign]
            return super().functions(net)

    network = Large()
    with pytest.raises(MemoryError, match="cpu does not hold"):
        TorchRun(Last(None), network)("forward", RAGGED[0].arrays)
    network.fault = RuntimeError("a shape is wrong")
    with pytest.raises(RuntimeError, match="a shape is wrong"):
        TorchRun(Last(None), network)("forward", RAGGED[0].arrays)


def test_reduced_precision_is_near_and_not_equal() -> None:
    net = Last(None)
    exact, near = (TorchRun(net, Sole(), precision=each)("forward", RAGGED[0].arrays) for each in ("fp32", "bf16"))
    assert 0 < np.abs(exact["last"] - near["last"]).max() < 0.02
