"""Exports a network's functions to ONNX and checks them. Knows graphs and tolerances, no task."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from models.runtimes.onnx_run import OnnxRun, filename
from models.runtimes.run import Run
from models.runtimes.torch_run import TorchRun
from models.task import AnyNetwork, Function

TOLERANCE = 1e-5
"""How far an answer may differ from torch's, relative to numbers above one."""
CHECKS = 24
"""Calls of each function that are held against torch."""


Calls = dict[str, list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]]
"""What each function was asked, and what it said."""


def export(
    network: AnyNetwork, net: torch.nn.Module, ask: Callable[[Run], object], folder: Path, *, checks: int = CHECKS
) -> str | None:
    """Write `net.onnx` (and a graph for each further function) into the folder.

    `ask` asks the network what it is asked when it serves (`Codec.predict` over some ragged batches); its first
    call of a function is traced, and only graphs that give torch's own answers to its calls, within 1e-5, are
    kept. Returns None, or why there is no export, in a sentence: the network is then served by torch.
    """
    net = net.cpu().eval()
    functions = network.functions(net)
    recorder = Recorder(TorchRun(net, network), checks)
    try:
        ask(recorder)
        for name, function in functions.items():
            if name not in recorder.calls:
                raise ValueError(f"the function '{name}' was never called")
            _write(function, recorder.calls[name][0][0], folder / filename(name))
        difference = _difference(recorder.calls, OnnxRun(folder))
        if difference <= TOLERANCE:
            return None
        reason = f"the export differs from torch by {difference:.1e}, above {TOLERANCE:.0e}"
    except (RuntimeError, KeyError, ValueError, torch.onnx.errors.OnnxExporterError) as error:
        reason = f"the network cannot be exported: {str(error).strip().splitlines()[-1]}"
    for name in functions:
        (folder / filename(name)).unlink(missing_ok=True)
    return reason


class Recorder:
    """A `Run` that remembers what another was asked and said: the first, and then ever rarer calls."""

    def __init__(self, run: Run, most: int) -> None:
        self.calls: Calls = {}
        self._run, self._most, self._counts = run, most, Counter[str]()

    def __call__(self, function: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = self._run(function, inputs)
        count = self._counts[function]
        self._counts[function] += 1
        kept = self.calls.setdefault(function, [])
        if len(kept) < self._most and (count < self._most // 2 or count & (count - 1) == 0):
            kept.append((dict(inputs), outputs))
        return outputs


def _write(function: Function, inputs: Mapping[str, np.ndarray], path: Path) -> None:
    arrays = tuple(torch.from_numpy(np.ascontiguousarray(inputs[name])) for name in function.inputs)
    free = {
        name: {axis: label for axis, label in enumerate(axes) if isinstance(label, str)}
        for name, axes in {**function.inputs, **function.outputs}.items()
    }
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer warns of each shape it reads; the check below is what counts
        torch.onnx.export(
            function.module.eval(),
            arrays,
            str(path),
            dynamo=False,
            opset_version=17,
            verbose=False,
            input_names=list(function.inputs),
            output_names=list(function.outputs),
            dynamic_axes=free,
        )


def _difference(calls: Calls, run: OnnxRun) -> float:
    worst = 0.0
    for name, recorded in calls.items():
        for inputs, expected in recorded:
            found = run(name, inputs)
            for output, array in expected.items():
                scale = np.maximum(1.0, np.abs(array))
                worst = max(worst, float(np.max(np.abs(found[output] - array) / scale, initial=0.0)))
    return worst
