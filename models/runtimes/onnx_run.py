"""Runs exported networks by ONNX Runtime on the CPU. Knows graphs and arrays, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

FORWARD = "forward"
NET, INT8 = "net", "int8"
"""How the files of graphs begin: as exported, and with weights in 8 bits."""


KINDS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
"""Whole numbers by the runtime's names."""


def filename(function: str) -> str:
    """The file that holds a function's graph."""
    return f"{NET}.onnx" if function == FORWARD else f"{NET}.{function}.onnx"


class OnnxRun:
    """A `Run` over the graphs in a folder that begin with `stem`. Safe to call from several threads at once."""

    def __init__(self, folder: Path, stem: str = NET, *, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # An arena would keep what the largest batch ever took; without it memory is given back, at the same speed.
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._sessions = {
            FORWARD if path.name == f"{stem}.onnx" else path.name.split(".")[1]: _Session(path, options)
            for path in sorted(folder.glob(f"{stem}*.onnx"))
        }

    def __call__(self, function: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        session = self._sessions[function]
        wanted = {name: np.asarray(inputs[name], dtype=kind) for name, kind in session.inputs.items()}
        try:
            return dict(zip(session.outputs, session.held.run(session.outputs, wanted), strict=True))
        except RuntimeException as error:
            if "alloc" not in str(error):  # the runtime has no type for it, but two sentences
                raise
            raise MemoryError("the memory does not hold this forward pass") from error

    def close(self) -> None:
        """Free the graphs."""
        self._sessions.clear()


class _Session:
    """A graph, and the names that it knows."""

    def __init__(self, path: Path, options: onnxruntime.SessionOptions) -> None:
        self.held = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = {entry.name: KINDS.get(entry.type) for entry in self.held.get_inputs()}
        """What each is cast to: ids may be kept in fewer bits than a graph takes them."""
        self.outputs = [entry.name for entry in self.held.get_outputs()]
