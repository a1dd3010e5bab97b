"""One fit of a network: passes over examples, batch after batch, at a rate that rises and falls. Knows the contract of
a task and no task; nothing of validation, of which epoch was best, or of files.

Loss is a sum and a count, so that an epoch's loss is exact over unequal batches.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from models import checkpoint
from models.batch import Example, batches
from models.gradient import Gradient
from models.judge import Judge
from models.monitor import TrainingError
from models.team import Team

CLIP = 1.0
"""Largest norm of a gradient, per count of the loss."""
WARM_UP = 0.05
"""Share of all steps over which the learning rate rises; it then falls along a half cosine."""
LEAST_BATCHES = 16
"""Batches of an epoch at least, where there are so many examples: few data still take many steps."""
EXPLODED = 1e4
"""A loss this many times the first epoch's has diverged, though it is still finite."""


@dataclass(kw_only=True)
class Pass:
    """One pass over the examples, so far."""

    sampler: dict[str, Any]
    """The sampler's state as it was when the pass began: the same order comes out of it again."""
    batches: int = 0
    loss: float = 0.0
    count: int = 0
    norms: float = 0.0
    examples: int = 0
    seconds: float = 0.0


class Learner:
    """What changes while a network learns: its weights, its optimizer, and how far it came."""

    def __init__(self, judge: Judge, team: Team, log: Callable[[str, str], None], examples: Sequence[Example]) -> None:
        config = judge.config
        self.net, self.config, self.team, self.examples = judge.net, config, team, examples
        self.gradient = Gradient(judge, team, log)
        self.sampler = np.random.default_rng(config.seed)
        groups = [{"lr_scale": 1.0, **group} for group in judge.network.parameter_groups(judge.net, config)]
        self.optimizer = torch.optim.AdamW(groups, lr=config.lr, weight_decay=0.01)
        self.lengths = [example.length for example in examples]
        self.budget = max(1, min(config.batch_steps, -(-sum(self.lengths) // LEAST_BATCHES)))
        self.per_epoch = sum(1 for _ in batches(self.lengths, steps=self.budget))
        self.steps = self.per_epoch * config.epochs
        """Those of all epochs: the rate falls over so many, however early the last one is."""
        self.step = self.epoch = 0
        self.under_way: Pass | None = None
        """The pass that `rest` began; whoever ends it sets None."""
        self.first_loss = math.inf

    def rest(self) -> Iterator[list[Example]]:
        """The batches of a new pass, or those that one under way has still to learn from."""
        self.net.train()
        if self.under_way is None:
            self.epoch += 1
            self.under_way = Pass(sampler=dict(self.sampler.bit_generator.state))
        self.sampler.bit_generator.state = self.under_way.sampler
        drawn = list(batches(self.lengths, steps=self.budget, shuffle=self.sampler))
        for chosen in drawn[self.under_way.batches :]:
            yield [self.examples[index] for index in chosen]

    def learn(self, chosen: list[Example]) -> None:
        """One step, from one batch of `rest`. Raises `TrainingError` where it gives no number."""
        began, done = time.monotonic(), self._done
        self.step += 1
        rate = self.rate
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        self.team.seeded(self.config.seed, self.step)
        total, n = self.gradient.of(chosen)
        if not math.isfinite(total):
            raise self._diverged(f"the loss became {total} at step {self.step} (epoch {self.epoch})")
        norm = float(nn.utils.clip_grad_norm_(self.net.parameters(), CLIP))
        if not math.isfinite(norm):
            raise self._diverged(f"the gradient became {norm} at step {self.step} (epoch {self.epoch})")
        self.optimizer.step()
        done.loss, done.count, done.norms = done.loss + total, done.count + n, done.norms + norm
        done.batches, done.examples = done.batches + 1, done.examples + len(chosen)
        done.seconds += time.monotonic() - began

    def measured(self) -> dict[str, float]:
        """What the pass under way measured. Raises `TrainingError` where it has diverged."""
        done = self._done
        loss = done.loss / max(1, done.count)
        self.first_loss = min(self.first_loss, loss) if self.epoch > 1 else loss
        if loss > EXPLODED * max(abs(self.first_loss), 1e-3):
            raise self._diverged(f"the training loss rose to {loss:.3g} in epoch {self.epoch}")
        return {
            "train_loss": loss,
            "lr": self.rate,
            "grad_norm": done.norms / max(1, done.batches),
            "examples_per_second": done.examples / max(1e-9, done.seconds),
        }

    @property
    def _done(self) -> Pass:
        if self.under_way is None:
            raise RuntimeError("no pass is under way: `rest` begins one")
        return self.under_way

    @property
    def rate(self) -> float:
        """The learning rate of the step."""
        warm = max(1.0, WARM_UP * self.steps)
        if self.step < warm:
            return self.config.lr * (self.step / warm)
        fallen = min(1.0, (self.step - warm) / max(1.0, self.steps - warm))
        return self.config.lr * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * fallen)))

    def _diverged(self, cause: str) -> TrainingError:
        return TrainingError(
            "diverged",
            f"{cause}; nothing of it was kept",
            f"try a lower `lr` (a third of {self.config.lr:g}), and look for extreme values in the data",
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        """Weights and the optimizer's numbers."""
        return {
            **checkpoint.nested("net", self.net.state_dict()),
            **checkpoint.nested("optimizer", checkpoint.optimizer_tensors(self.optimizer)),
        }

    def facts(self) -> dict[str, Any]:
        """All else, as JSON."""
        return {
            "step": self.step,
            "epoch": self.epoch,
            "under_way": None if self.under_way is None else asdict(self.under_way),
            "sampler": self.sampler.bit_generator.state,
            "first_loss": None if math.isinf(self.first_loss) else self.first_loss,
            "halved": self.gradient.halved,
            "fitted": self.gradient.fitted,
        }

    def restore(self, tensors: dict[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
        """What `tensors` and `facts` told."""
        self.net.load_state_dict(checkpoint.under("net", tensors))
        checkpoint.restore_optimizer(self.optimizer, checkpoint.under("optimizer", tensors))
        self.step, self.epoch = facts["step"], facts["epoch"]
        self.under_way = None if facts["under_way"] is None else Pass(**facts["under_way"])
        self.sampler.bit_generator.state = facts["sampler"]
        self.first_loss = math.inf if facts["first_loss"] is None else facts["first_loss"]
        self.gradient.halved, self.gradient.fitted = facts["halved"], facts["fitted"]
