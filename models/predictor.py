"""The one serving path: an item becomes an example, examples become outputs. Knows the contract, no task, no torch."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

from models import artifact, catalog
from models.artifact import Artifact
from models.batch import Example
from models.runtimes.onnx_run import INT8, NET, OnnxRun, filename
from models.runtimes.run import Run
from models.stream import Stepper
from models.task import AnyCodec, Config, Params, Schema


class Predictor:
    """A trained model that answers."""

    def __init__(
        self,
        codec: AnyCodec,
        state: Schema,
        config: Config,
        run: Run,
        *,
        lacking: Collection[str] = (),
        weights: str = "fp32",
    ) -> None:
        """`lacking`: functions that the task's stream calls and this version, made before there were any, has not."""
        self.codec, self.state, self.config, self.run, self.lacking = codec, state, config, run, lacking
        self.weights = weights

    def prepare(self, item: Any, params: Params) -> Example:
        """What the network will read for an item. Raises `models.task.Fault` on one that cannot be used."""
        return self.codec.example(item, params, self.state, self.config)

    def answer(self, examples: Sequence[Example], params: Params) -> list[Any]:
        """One output per example, in order; alone or in company, the same."""
        return self.codec.predict(self.run, self.codec.collate(examples), params, self.state)

    def stepper(self) -> Stepper | str:
        """The version as one that answers step by step; or why it cannot, in half a sentence."""
        stream = catalog.stream(self.codec.card.name)
        if stream is None:
            able = ", ".join(name for name, card in catalog.cards().items() if card.stream is not None)
            return f"its task is {self.codec.card.name}; sequences arrive step by step for {able}"
        refusal = stream.refusal(self.state, self.config)
        if refusal is None and self.lacking:
            refusal = "it was trained before there were sessions: train again"
        return refusal or Stepper(stream, self.state, self.config, self.run)

    def probe(self) -> None:
        """Answer what the codec asks of every version: one that cannot is not put to work."""
        params = self.codec.card.params()
        examples = [self.prepare(item, params) for item in self.codec.probes(self.state)]
        outputs = self.answer(examples, params)
        for output in outputs:
            self.codec.card.output.model_validate(output.model_dump())

    def close(self) -> None:
        """Free what the runtime holds."""
        closing = getattr(self.run, "close", None)
        if closing is not None:
            closing()


Precision = Literal["auto", "fp32"]
"""`auto`: weights in 8 bits where a version has them."""


def load(
    found: Artifact | Path,
    *,
    threads: int = 1,
    device: str = "cpu",
    precision: Precision = "auto",
    products: str = "fp32",
) -> Predictor:
    """The predictor of a verified artifact: ONNX Runtime on the CPU where it was exported, else torch, whose matrix
    `products` may be of "bf16" or "fp16"."""
    held = found if isinstance(found, Artifact) else artifact.read(found)
    task = held.manifest.task
    run: Run
    lacking: list[str] = []
    small = device == "cpu" and precision == "auto" and held.quantized
    if device == "cpu" and held.exported:
        run = OnnxRun(held.folder, INT8 if small else NET, threads=threads)
        stream = catalog.stream(task)
        lacking = [name for name in stream.functions if filename(name) not in held.manifest.files] if stream else []
    else:
        torch_run = importlib.import_module("models.runtimes.torch_run")
        run = torch_run.load(
            task,
            held.folder / artifact.WEIGHTS,
            state=held.state,
            config=held.config,
            device=device,
            precision=products,
        )
    return Predictor(
        catalog.codec(task), held.state, held.config, run, lacking=lacking, weights="int8" if small else "fp32"
    )
