"""The one training loop. Knows the contract of a task and no task; nothing of jobs, files or databases.

Loss is a sum and a count, so that an epoch's loss is exact over unequal batches. The same seed gives
the same weights, bit for bit, on one CPU.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from models import checkpoint
from models.batch import Example, batches
from models.checkpoint import Checkpoint, CheckpointError, Keeper
from models.gradient import Gradient
from models.judge import Judge, glanced_at
from models.monitor import EpochReport, Monitor, Progress, Silent, Stopped, TrainingError
from models.prepared import prepared
from models.task import AnyCodec, AnyNetwork, Config, Part, Schema, Vectors
from models.team import Alone, Team
from models.warm import Warm, transfer

CLIP = 1.0
"""Largest norm of a gradient, per count of the loss."""
WARM_UP = 0.05
"""Share of all steps over which the learning rate rises; it then falls along a half cosine."""
LEAST_BATCHES = 16
"""Batches of an epoch at least, where there are so many examples: few data still take many steps."""
LEAST_STEPS = 200
"""Steps before patience may end a training: few data need many passes before the first sign."""
KEEP_EVERY = 30.0
"""Seconds between two checkpoints within an epoch; each epoch's end makes one as well."""
KEEP_SHARE = 0.02
"""Share of the time that checkpoints may take: a dear one is made more rarely."""
EXPLODED = 1e4
"""A loss this many times the first epoch's has diverged, though it is still finite."""


Ended = Literal["epochs", "patience", "max_seconds", "pruned"]
"""Why a training learnt no further: its last epoch, none better for `patience` of them, time, or a better sibling."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training leaves behind."""

    net: nn.Module
    state: Schema
    metrics: dict[str, float]
    """Of the best epoch: `validation_*`, `test_*` where there is a test part, and the card's metric,
    by the test part if there is one."""
    history: list[EpochReport]
    parameters: int
    seconds: float
    ended: Ended
    examples: dict[Part, list[Example]] = field(repr=False)


def train(
    codec: AnyCodec,
    network: AnyNetwork,
    rows: Mapping[Part, Sequence[Any]],
    config: Config,
    *,
    device: str = "cpu",
    threads: int = 1,
    vectors: Vectors | None = None,
    monitor: Monitor | None = None,
    max_seconds: float | None = None,
    keeper: Keeper | None = None,
    team: Team | None = None,
    warm: Warm | None = None,
) -> Trained:
    """Learn from the rows of each part. Raises `TrainingError`, and `Stopped` when the monitor asks for it.

    With a `keeper` the training goes on from its latest checkpoint, to the same weights as one that was
    never interrupted (bit for bit on one CPU in fp32); where there is none, from the weights of `warm`.
    Every process of a `team` calls this with the same arguments; the first alone has a monitor that
    speaks and a keeper that keeps.
    """
    watch = monitor or Silent()
    started = time.monotonic()
    torch.set_num_threads(threads)
    torch.manual_seed(config.seed)
    state = codec.learn(rows["train"], config, vectors)
    examples = prepared(codec, rows, state, config, watch)
    net = network.build(state, config)
    network.initialise(net, state, config, vectors)
    said = [] if warm is None else transfer(network, net, state, warm)
    plan = _Plan(
        codec=codec, network=network, config=config, device=device, max_seconds=max_seconds, team=team or Alone()
    )
    run = _Run(plan, state, net.to(device), watch, started)
    if keeper is not None:
        run.kept_by(keeper)
    if warm is not None and not run.history:
        run.begin_at(said, examples["validation"])
    run.learn(examples["train"], examples["validation"])
    return run.finish(examples)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What does not change while learning."""

    codec: AnyCodec
    network: AnyNetwork
    config: Config
    device: str
    max_seconds: float | None
    team: Team


@dataclass(kw_only=True)
class _Pass:
    """One pass over the training part, so far."""

    sampler: dict[str, Any]
    """The sampler's state as it was when the pass began: the same order comes out of it again."""
    batches: int = 0
    loss: float = 0.0
    count: int = 0
    norms: float = 0.0
    examples: int = 0
    seconds: float = 0.0


class _Run:
    """All that changes while learning, in one object."""

    def __init__(self, plan: _Plan, state: Schema, net: nn.Module, watch: Monitor, started: float) -> None:
        self.codec, self.network, self.config, self.device = plan.codec, plan.network, plan.config, plan.device
        self.state, self.net, self.watch, self.started, self.max_seconds = state, net, watch, started, plan.max_seconds
        config, network = plan.config, plan.network
        self.judge = Judge(plan.codec, network, net, config, plan.device)
        self.sampler = np.random.default_rng(config.seed)
        self.step = 0
        self.steps = 1
        self.epoch = 0
        self.under_way: _Pass | None = None
        self.best: dict[str, torch.Tensor] = copy.deepcopy(net.state_dict())
        self.best_score = (-math.inf, -math.inf)
        self.stale = 0
        self.ended: Ended | None = None
        self.first_loss = math.inf
        self.history: list[EpochReport] = []
        self.team = plan.team
        self.gradient = Gradient(self.judge, plan.team, watch.log)
        self.keeper: Keeper | None = None
        self.kept_at, self.keep_cost = time.monotonic(), 0.0
        groups = [{**group} for group in network.parameter_groups(net, config)]
        for group in groups:
            group["lr_scale"] = group.get("lr_scale", 1.0)
        self.optimizer = torch.optim.AdamW(groups, lr=config.lr, weight_decay=0.01)

    # learning

    def begin_at(self, said: Sequence[str], validation: Sequence[Example]) -> None:
        """Weights that were learnt before are judged first, as epoch 0: the best there is until one is better."""
        for text in said:
            self.watch.log(text)
        report = EpochReport(epoch=0, step=0, values=self._judge(validation))
        self.stale = 0
        self.history.append(report)
        self.watch.epoch(report)

    def learn(self, train: Sequence[Example], validation: Sequence[Example]) -> None:
        """Epochs until the last, or until none was better for `patience` of them, or time is up."""
        lengths = [example.length for example in train]
        budget = max(1, min(self.config.batch_steps, -(-sum(lengths) // LEAST_BATCHES)))
        per_epoch = sum(1 for _ in batches(lengths, steps=budget))
        self.steps = per_epoch * self.config.epochs
        self.watch.log(
            f"{len(train)} training examples in {per_epoch} batches an epoch, {len(validation)} for validation, "
            f"{count(self.net)} parameters"
        )
        glance = glanced_at(train, validation)
        while not self._over():
            values = self._epoch(train, lengths, budget)
            values |= self.team.told(lambda: self.judge.glance(glance, self.state))
            values |= self._judge(validation)
            report = EpochReport(epoch=self.epoch, step=self.step, values=values)
            self.history.append(report)
            self.under_way = None
            self.watch.epoch(report)
            self._warn_of_dead_learning(validation)
            self._keep(every=0.0)
        if not math.isfinite(self.best_score[0]):
            raise TrainingError(
                "bad-data",
                f"the validation part gave no number as its loss or its {self.codec.card.metric}; nothing was kept",
                "look for extreme values in the validation rows, or try a lower `lr`",
            )
        self.watch.progress(self._progress(1.0))

    def _over(self) -> bool:
        """Whether there is nothing more to learn; the same answer after a resumption."""
        if self.under_way is not None:
            return False
        self.ended = self._ended()
        return self.ended is not None

    def _ended(self) -> Ended | None:
        if self.stale >= self.config.patience and self.step >= LEAST_STEPS:
            self.watch.log(f"no better score for {self.stale} epochs: stopping after epoch {self.epoch}")
            return "patience"
        if self.epoch > 0 and self._late():
            self.watch.log(f"the time of {self.max_seconds:g} s is up: stopping after epoch {self.epoch}", "warning")
            return "max_seconds"
        if self.epoch >= self.config.epochs:
            return "epochs"
        return "pruned" if self._enough() else None

    def _enough(self) -> bool:
        """Whether who watches wants no more of it."""
        if self.epoch == 0:
            return False
        best = self.best_score[0] if self.codec.card.higher_is_better else -self.best_score[0]
        reason = self.watch.enough(epoch=self.epoch, best=best) if self.team.rank == 0 else None
        if reason is not None:
            self.watch.log(f"{reason}: stopping after epoch {self.epoch}")
        return self.team.summed([reason is not None])[0] > 0

    def _late(self) -> bool:
        if self.max_seconds is None:
            return False
        late = self.team.rank == 0 and time.monotonic() - self.started > self.max_seconds
        return self.team.summed([late])[0] > 0

    def _epoch(self, train: Sequence[Example], lengths: list[int], budget: int) -> dict[str, float]:
        self.net.train()
        if self.under_way is None:
            self.epoch += 1
            self.under_way = _Pass(sampler=self.sampler.bit_generator.state)
        done = self.under_way
        self.sampler.bit_generator.state = done.sampler
        began, told = time.monotonic() - done.seconds, 0.0
        for chosen in list(batches(lengths, steps=budget, shuffle=self.sampler))[done.batches :]:
            reason = self.watch.stop()
            if self.team.summed([reason is not None])[0]:
                self._keep(every=None)
                raise Stopped(reason or "another process of this training was asked to")
            loss, n, norm = self._step([train[i] for i in chosen])
            done.loss, done.count, done.norms = done.loss + loss, done.count + n, done.norms + norm
            done.batches, done.examples = done.batches + 1, done.examples + len(chosen)
            done.seconds = time.monotonic() - began
            if self._late():
                break
            if time.monotonic() - told > 0.5:
                told = time.monotonic()
                self.watch.progress(self._progress(self.step / self.steps))
                self._keep(every=KEEP_EVERY)
        loss = done.loss / max(1, done.count)
        self.first_loss = min(self.first_loss, loss) if self.epoch > 1 else loss
        if loss > EXPLODED * max(abs(self.first_loss), 1e-3):
            raise self._diverged(f"the training loss rose to {loss:.3g} in epoch {self.epoch}")
        return {
            "train_loss": loss,
            "lr": self.config.lr * self._schedule(),
            "grad_norm": done.norms / max(1, done.batches),
            "examples_per_second": done.examples / max(1e-9, done.seconds),
        }

    def _step(self, chosen: list[Example]) -> tuple[float, int, float]:
        self.step += 1
        rate = self.config.lr * self._schedule()
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
        return total, n, norm

    def _schedule(self) -> float:
        warm = max(1.0, WARM_UP * self.steps)
        if self.step < warm:
            return self.step / warm
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, (self.step - warm) / max(1.0, self.steps - warm))))

    def _diverged(self, cause: str) -> TrainingError:
        return TrainingError(
            "diverged",
            f"{cause}; nothing of it was kept",
            f"try a lower `lr` (a third of {self.config.lr:g}), and look for extreme values in the data",
        )

    def _progress(self, fraction: float) -> Progress:
        spent = time.monotonic() - self.started
        eta = None if fraction <= 0 else spent * (1 - fraction) / fraction
        return Progress(
            fraction=round(min(1.0, fraction), 4),
            epoch=self.epoch,
            epochs=self.config.epochs,
            step=self.step,
            steps=self.steps,
            eta_seconds=None if eta is None else round(eta, 1),
        )

    # checkpoints

    def kept_by(self, keeper: Keeper) -> None:
        """Lay checkpoints down with a keeper, and go on from its latest."""
        self.keeper = keeper
        try:
            latest = keeper.latest()
            if latest is None:
                return
            self._restore(latest)
        except (CheckpointError, KeyError, ValueError, RuntimeError) as error:
            reason = error if isinstance(error, CheckpointError) else "it is not of this network"
            raise CheckpointError(f"the checkpoint cannot be gone on from: {reason}") from None
        keeper.resumed(epoch=self.epoch, step=self.step)
        self.watch.log(f"going on from step {self.step} (epoch {self.epoch})")

    def _keep(self, *, every: float | None) -> None:
        """Make a checkpoint if one is due: `every` seconds, each epoch's end (0), or at any price (None)."""
        if self.keeper is None or self.team.rank > 0:
            return
        began = time.monotonic()
        if every is not None and began - self.kept_at < max(every, self.keep_cost / KEEP_SHARE):
            return
        self.keeper.keep(self._snapshot())
        self.kept_at = time.monotonic()
        self.keep_cost = self.kept_at - began

    def _snapshot(self) -> Checkpoint:
        tensors = {
            **checkpoint.nested("net", self.net.state_dict()),
            **checkpoint.nested("best", self.best),
            **checkpoint.nested("optimizer", checkpoint.optimizer_tensors(self.optimizer)),
            **checkpoint.nested("random", checkpoint.random_states(self.device)),
        }
        facts = {
            "step": self.step,
            "epoch": self.epoch,
            "under_way": None if self.under_way is None else asdict(self.under_way),
            "sampler": self.sampler.bit_generator.state,
            "best_score": [None if math.isinf(value) else value for value in self.best_score],
            "stale": self.stale,
            "first_loss": None if math.isinf(self.first_loss) else self.first_loss,
            "history": [asdict(report) for report in self.history],
            "halved": self.gradient.halved,
            "fitted": self.gradient.fitted,
            "seconds": time.monotonic() - self.started,
        }
        return Checkpoint(tensors=tensors, facts=facts)

    def _restore(self, kept: Checkpoint) -> None:
        tensors, facts = kept.tensors, kept.facts
        self.net.load_state_dict(checkpoint.under("net", tensors))
        device = next(self.net.parameters()).device
        self.best = {name: tensor.to(device) for name, tensor in checkpoint.under("best", tensors).items()}
        checkpoint.restore_optimizer(self.optimizer, checkpoint.under("optimizer", tensors))
        checkpoint.restore_random(checkpoint.under("random", tensors), self.device)
        self.step, self.epoch, self.stale = facts["step"], facts["epoch"], facts["stale"]
        self.under_way = None if facts["under_way"] is None else _Pass(**facts["under_way"])
        self.sampler.bit_generator.state = facts["sampler"]
        first, second = (-math.inf if value is None else value for value in facts["best_score"])
        self.best_score = (first, second)
        self.first_loss = math.inf if facts["first_loss"] is None else facts["first_loss"]
        self.history = [EpochReport(**report) for report in facts["history"]]
        self.gradient.halved, self.gradient.fitted = facts["halved"], facts["fitted"]
        self.started = time.monotonic() - facts["seconds"]

    # judging

    def _judge(self, validation: Sequence[Example]) -> dict[str, float]:
        scores = self.team.told(lambda: self.judge.evaluate(validation, self.state))
        card = self.codec.card
        score = (scores[card.metric] if card.higher_is_better else -scores[card.metric], -scores["loss"])
        if all(map(math.isfinite, score)) and score > self.best_score:  # a tie is broken by the loss
            self.best_score, self.stale = score, 0
            self.best = copy.deepcopy(self.net.state_dict())
        else:
            self.stale += 1
        return {"validation_loss": scores.pop("loss"), **scores}

    def _warn_of_dead_learning(self, validation: Sequence[Example]) -> None:
        """Say once, a third of the way and again at the end, that a constant guess is as good."""
        if self.epoch not in {max(3, self.config.epochs // 3), self.config.epochs}:
            return
        card = self.codec.card
        guess = self.codec.guess([example.answer for example in validation], self.state)
        best = self.best_score[0] if card.higher_is_better else -self.best_score[0]
        if guess is None or (best > guess if card.higher_is_better else best < guess):
            return
        self.watch.log(
            f"after epoch {self.epoch} the best {card.metric} is {best:.3g}, no better than {guess:.3g} for always "
            "giving the same answer: nothing is learnt yet; see whether labels fit their rows, or raise `epochs`",
            "warning",
        )

    def finish(self, examples: dict[Part, list[Example]]) -> Trained:
        """The best weights back; by the first of a team, the state calibrated and the parts scored."""
        self.net.load_state_dict(self.best)
        if self.team.rank > 0:
            return self._trained({}, examples)
        self.state = self.judge.calibrated(examples["validation"], self.state)
        metrics = {}
        for part in ("validation", "test"):
            if examples[part]:  # type: ignore[index]
                scores = self.judge.evaluate(examples[part], self.state)  # type: ignore[index]
                metrics |= {f"{part}_{name}": value for name, value in scores.items()} | scores
        return self._trained(metrics, examples)

    def _trained(self, metrics: dict[str, float], examples: dict[Part, list[Example]]) -> Trained:
        return Trained(
            net=self.net,
            state=self.state,
            metrics={name: value for name, value in metrics.items() if math.isfinite(value)},
            history=self.history,
            parameters=count(self.net),
            seconds=time.monotonic() - self.started,
            ended=self.ended or "epochs",
            examples=examples,
        )


def count(net: nn.Module) -> int:
    """Learnt numbers of a network."""
    return sum(parameter.numel() for parameter in net.parameters())
