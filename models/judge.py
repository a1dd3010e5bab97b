"""How good a network is on a part: its loss, and the scores of its outputs. Knows the contract of a task, no task."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import nn

from models.batch import Batch, Example, batches
from models.runtimes.torch_run import TorchRun
from models.task import AnyCodec, AnyNetwork, Config, Schema

GLANCE = 256
"""Training examples at most that are scored after each epoch, and never more than the validation part has."""
LEAST_STEPS = 4096
"""Padded steps of a batch that is only read, at least: nothing of it is kept for a gradient."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What was found of one batch."""

    loss: float
    """Summed over the batch."""
    count: int
    """What the sum runs over."""
    outputs: Sequence[Any]


class Judge:
    """Scores one network, the way it is learnt and the way it is asked."""

    def __init__(self, codec: AnyCodec, network: AnyNetwork, net: nn.Module, config: Config, device: str) -> None:
        self.codec, self.network, self.net, self.config, self.device = codec, network, net, config, device
        self.bf16 = config.precision == "bf16" or (
            config.precision == "auto" and device.startswith("cuda") and torch.cuda.is_bf16_supported()
        )

    def loss(self, batch: Batch) -> tuple[torch.Tensor, int]:
        """The summed loss of a batch of arrays, and its count."""
        tensors = batch.mapped(lambda array: torch.from_numpy(array).to(self.device))
        with torch.autocast(self.device.split(":", maxsplit=1)[0], dtype=torch.bfloat16, enabled=self.bf16):
            return self.network.loss(self.net, tensors)

    def evaluate(self, examples: Sequence[Example], state: Schema) -> dict[str, float]:
        """`loss` and the codec's scores over a part."""
        return self.scored(examples, self.judged(examples, state))

    def judged(self, examples: Sequence[Example], state: Schema, *, skip: int = 0) -> Iterator[Judged]:
        """Each batch of `batches`, in its order, but for the first so many."""
        self.net.eval()
        run = TorchRun(self.net, self.network, self.device)
        params = self.codec.card.scoring or self.codec.card.params()
        for _, batch in islice(self.batches(examples), skip, None):
            with torch.inference_mode():
                loss, count = self.loss(batch)
            outputs = self.codec.predict(run, batch, params, state)
            yield Judged(loss=loss.item(), count=count, outputs=outputs)

    def scored(self, examples: Sequence[Example], judged: Iterable[Judged]) -> dict[str, float]:
        """`loss` and the codec's scores over a part whose every batch was judged."""
        outputs: list[Any] = [None] * len(examples)
        total, counted = 0.0, 0
        for chosen, each in zip(self.cut(examples), judged, strict=True):
            total, counted = total + each.loss, counted + each.count
            for index, output in zip(chosen, each.outputs, strict=True):
                outputs[index] = output
        return {"loss": total / max(1, counted), **self.codec.score(outputs, [example.answer for example in examples])}

    def glance(self, examples: Sequence[Example], state: Schema) -> dict[str, float]:
        """The card's metric on a few training examples, as `train_<metric>`: what overfitting looks like."""
        metric = self.codec.card.metric
        if not examples or metric == "loss":  # the loss of the whole part is known already
            return {}
        score = self.evaluate(examples, state)[metric]
        return {f"train_{metric}": score} if math.isfinite(score) else {}

    def calibrated(self, examples: Sequence[Example], state: Schema) -> Schema:
        """The state with what is fitted on a part after learning: thresholds, temperatures."""
        self.net.eval()
        found = list(self.batches(examples))
        answers = [[examples[i].answer for i in chosen] for chosen, _ in found]
        run = TorchRun(self.net, self.network, self.device)
        fitted: Schema = self.codec.calibrate(run, [batch for _, batch in found], state, answers)
        return fitted

    def batches(self, examples: Sequence[Example]) -> Iterator[tuple[list[int], Batch]]:
        """Every example once, in batches of near-equal length, with their places."""
        for chosen in self.cut(examples):
            yield chosen, self.codec.collate([examples[i] for i in chosen])

    def cut(self, examples: Sequence[Example]) -> Iterator[list[int]]:
        """The places of the examples of each batch."""
        lengths = [example.length for example in examples]
        yield from batches(lengths, steps=max(LEAST_STEPS, self.config.batch_steps))


def glanced_at(train: Sequence[Example], validation: Sequence[Example]) -> Sequence[Example]:
    """The training examples that are scored after each epoch: always the same, drawn from the whole part. Evenly spaced
    ones would all be alike where the rows of a file take turns.

    None where they are scored as validation already, or carry no answer."""
    most = min(GLANCE, len(validation), len(train))
    if validation is train or any(example.answer is None for example in train):
        return []
    return [train[index] for index in sorted(np.random.default_rng(0).permutation(len(train))[:most])]
