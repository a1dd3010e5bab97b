"""Weights of exported graphs in 8 bits, kept where they are faster and as good. Knows graphs and scores, no task.

Recurrent layers and products by `onnxruntime.quantization`, dynamically: weights are rounded once, per tensor; what
is multiplied with them is rounded by its range in each call. An answer so depends a little on the company it had.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.batch import Example, batches
from models.runtimes.onnx_run import INT8, NET, OnnxRun
from models.runtimes.run import Run
from models.task import AnyCodec, Schema

OPERATORS = ["LSTM", "MatMul", "Gemm"]
MOVE = 0.002
"""How far the metric may move: 0.2 points of a share; of a number above one, 0.2 %."""
FASTER = 1.05
"""The least gain in speed that is more than noise."""
STEPS = 256
"""Padded steps of a batch that is timed: what serving makes of some requests."""
MOST = 2000
"""Examples of the validation part that are asked at most, evenly over it."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found of a version in 8 bits."""

    kept: bool
    metrics: Mapping[str, float]
    """For the version's own: the metric in 8 bits, how many times as fast, 1 or 0 for kept or not."""
    reason: str


def settle(codec: AnyCodec, folder: Path, examples: Sequence[Example], state: Schema) -> Verdict:
    """Write graphs in 8 bits beside those of an artifact's folder; they stay where they pay on `examples`."""
    chosen = [examples[int(i)] for i in np.linspace(0, len(examples) - 1, min(MOST, len(examples)))]
    try:
        write(folder)
        verdict = _judged(codec, folder, chosen, state)
    except Exception as error:  # whatever a graph has that the quantizer does not know: the version serves without
        verdict = Verdict(kept=False, metrics={"int8_kept": 0.0}, reason=f"it cannot be made: {error}")
    if not verdict.kept:
        for path in folder.glob(f"{INT8}*.onnx"):
            path.unlink()
    return verdict


def write(folder: Path) -> None:
    """Graphs in 8 bits beside those of a folder, judged by nobody yet."""
    quantization = importlib.import_module("onnxruntime.quantization")
    logging.getLogger().addFilter(_unprocessed)
    try:
        for path in sorted(folder.glob(f"{NET}*.onnx")):
            target = folder / path.name.replace(NET, INT8, 1)
            quantization.quantize_dynamic(
                str(path), str(target), weight_type=quantization.QuantType.QInt8, op_types_to_quantize=OPERATORS
            )
    finally:
        logging.getLogger().removeFilter(_unprocessed)


def _unprocessed(record: logging.LogRecord) -> bool:
    """The quantizer would have graphs simplified first; the exporter has done so."""
    return "pre-processing" not in record.getMessage()


def _judged(codec: AnyCodec, folder: Path, examples: Sequence[Example], state: Schema) -> Verdict:
    card = codec.card
    runs = {name: OnnxRun(folder, name) for name in (NET, INT8)}
    outputs: dict[str, list[Any]] = {name: [None] * len(examples) for name in runs}
    seconds = dict.fromkeys(runs, 0.0)
    for turn, cut in enumerate(batches([example.length for example in examples], steps=STEPS)):
        batch = codec.collate([examples[index] for index in cut])
        for name in (NET, INT8) if turn % 2 else (INT8, NET):
            timed = _Timed(runs[name])
            said = codec.predict(timed, batch, card.scoring or card.params(), state)
            seconds[name] += timed.seconds
            for index, output in zip(cut, said, strict=True):
                outputs[name][index] = output
    answers = [example.answer for example in examples]
    scores = {name: codec.score(said, answers) for name, said in outputs.items()}
    metric = card.metric if card.metric in scores[NET] else next(iter(scores[NET]))
    before, after = scores[NET][metric], scores[INT8][metric]
    faster, moved = seconds[NET] / seconds[INT8], abs(after - before) / max(1.0, abs(before))
    kept = faster >= FASTER and moved < MOVE
    told = f"{metric} {before:.4f} before and {after:.4f} after, {faster:.2f} times as fast"
    found = {"int8_kept": float(kept), "int8_speed": round(faster, 2), f"int8_{metric}": after}
    return Verdict(kept=kept, metrics=found, reason=told)


class _Timed:
    """A `Run` that counts the seconds of another."""

    def __init__(self, run: Run) -> None:
        self.seconds, self._run = 0.0, run

    def __call__(self, function: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        began = time.perf_counter()
        try:
            return self._run(function, inputs)
        finally:
            self.seconds += time.perf_counter() - began
