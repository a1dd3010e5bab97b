"""Exports a network's functions to ONNX and checks them. Knows graphs and tolerances, no task."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from models.batch import Batch
from models.runtimes.onnx_run import FORWARD, OnnxRun, filename
from models.runtimes.torch_run import TorchRun
from models.task import AnyNetwork, Function

TOLERANCE = 1e-5
"""How far an answer may differ from torch's, relative to numbers above one."""


def export(network: AnyNetwork, net: torch.nn.Module, batches: Sequence[Batch], folder: Path) -> str | None:
    """Write `net.onnx` (and a graph for each further function) into the folder.

    Only what gives torch's own answers on `batches`, within 1e-5, is kept. Returns None, or why there
    is no export, in a sentence: the network is then served by torch.
    """
    net = net.cpu().eval()
    functions = network.functions(net)
    try:
        for name, function in functions.items():
            _write(function, batches[0], folder / filename(name))
        difference = _difference(TorchRun(net, network), OnnxRun(folder), list(functions), batches)
        if difference <= TOLERANCE:
            return None
        reason = f"the export differs from torch by {difference:.1e}, above {TOLERANCE:.0e}"
    except (RuntimeError, KeyError, ValueError, torch.onnx.errors.OnnxExporterError) as error:
        reason = f"the network cannot be exported: {str(error).strip().splitlines()[-1]}"
    for name in functions:
        (folder / filename(name)).unlink(missing_ok=True)
    return reason


def _write(function: Function, batch: Batch, path: Path) -> None:
    arrays = tuple(torch.from_numpy(np.ascontiguousarray(batch.arrays[name])) for name in function.inputs)
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


def _difference(torch_run: TorchRun, onnx_run: OnnxRun, names: list[str], batches: Sequence[Batch]) -> float:
    worst = 0.0
    for batch in batches:
        for name in names if FORWARD not in names else [FORWARD]:
            expected, found = torch_run(name, batch.arrays), onnx_run(name, batch.arrays)
            for output, array in expected.items():
                scale = np.maximum(1.0, np.abs(array))
                worst = max(worst, float(np.max(np.abs(found[output] - array) / scale, initial=0.0)))
    return worst
