"""The one training loop. Knows the contract of a task and no task; nothing of jobs, files or databases.

The same seed gives the same weights, bit for bit, on one CPU.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from models import checkpoint
from models.batch import Example
from models.best import Best
from models.checkpoint import Checkpoint, CheckpointError, Keeper
from models.judge import Judge, glanced_at
from models.learner import Learner
from models.monitor import EpochReport, Monitor, Progress, Silent, Stopped, TrainingError
from models.prepared import prepared
from models.task import AnyCodec, AnyNetwork, Config, Part, Schema, Vectors
from models.team import Alone, Team
from models.warm import Warm, transfer

LEAST_STEPS = 200
"""Steps before patience may end a training: few data need many passes before the first sign."""
KEEP_EVERY = 30.0
"""Seconds between two checkpoints within an epoch; each epoch's end makes one as well."""
KEEP_SHARE = 0.02
"""Share of the time that checkpoints may take: a dear one is made more rarely."""


Ended = Literal["epochs", "patience", "max_seconds", "pruned"]
"""Why a training learnt no further: its last epoch, none better for `patience` of them, time, or a better sibling."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training leaves behind."""

    net: nn.Module
    state: Schema
    metrics: dict[str, float]
    """Of the best epoch: `validation_*`, `test_*` where there is a test part, and the card's metric,
    by the test part if there is one. `refit_epochs` where the net learnt anew from the validation part as well:
    `test_*` are then of that net."""
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
        codec=codec,
        network=network,
        config=config,
        examples=examples,
        device=device,
        max_seconds=max_seconds,
        team=team or Alone(),
    )
    run = _Run(plan, state, net.to(device), watch, started)
    if keeper is not None:
        run.kept_by(keeper)
    if warm is not None and not run.history:
        run.begin_at(said)
    run.learn()
    run.settle()
    if config.refit:
        run.refit()
    return run.finish()


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What does not change while learning."""

    codec: AnyCodec
    network: AnyNetwork
    config: Config
    examples: dict[Part, list[Example]]
    device: str
    max_seconds: float | None
    team: Team


class _Run:
    """All that changes while learning, in one object."""

    def __init__(self, plan: _Plan, state: Schema, net: nn.Module, watch: Monitor, started: float) -> None:
        self.codec, self.network, self.config, self.device = plan.codec, plan.network, plan.config, plan.device
        self.state, self.net, self.watch, self.started, self.max_seconds = state, net, watch, started, plan.max_seconds
        self.judge = Judge(plan.codec, plan.network, net, plan.config, plan.device)
        self.best = Best(plan.codec.card, net)
        self.first = copy.deepcopy(net.state_dict()) if plan.config.refit else {}
        """The weights that learning began with: it begins with them again."""
        self.refitting = False
        self.metrics: dict[str, float] = {}
        self.ended: Ended | None = None
        self.history: list[EpochReport] = []
        self.team = plan.team
        self.examples = plan.examples
        self.train, self.validation = plan.examples["train"], plan.examples["validation"]
        self.learner = Learner(self.judge, plan.team, watch.log, self.train)
        self.keeper: Keeper | None = None
        self.kept_at, self.keep_cost = time.monotonic(), 0.0

    # learning

    def begin_at(self, said: Sequence[str]) -> None:
        """Weights that were learnt before are judged first, as epoch 0: the best there is until one is better."""
        for text in said:
            self.watch.log(text)
        report = EpochReport(epoch=0, step=0, values=self._judge())
        self.best.stale = 0
        self.history.append(report)
        self.watch.epoch(report)

    def learn(self) -> None:
        """Epochs until the last, or until none was better for `patience` of them, or time is up."""
        if self.refitting:
            return  # it was over before what was resumed
        self.watch.log(
            f"{len(self.train)} training examples in {self.learner.per_epoch} batches an epoch, "
            f"{len(self.validation)} for validation, {count(self.net)} parameters"
        )
        glance = glanced_at(self.train, self.validation)
        while not self._over():
            values = self._epoch()
            values |= self.team.told(lambda: self.judge.glance(glance, self.state))
            values |= self._judge()
            report = EpochReport(epoch=self.learner.epoch, step=self.learner.step, values=values)
            self.history.append(report)
            self.learner.under_way = None
            self.watch.epoch(report)
            self._warn_of_dead_learning()
            self._keep(every=0.0)
        if not self.best.found:
            raise TrainingError(
                "bad-data",
                f"the validation part gave no number as its loss or its {self.codec.card.metric}; nothing was kept",
                "look for extreme values in the validation rows, or try a lower `lr`",
            )

    def settle(self) -> None:
        """The best weights back; by the first of a team, the state calibrated and the validation part scored. A net
        that was learning anew goes on from where it is."""
        weights = copy.deepcopy(self.net.state_dict()) if self.refitting else {}
        states = checkpoint.random_states(self.device)
        self.net.load_state_dict(self.best.weights)
        if self.team.rank == 0:
            self.state = self.judge.calibrated(self.validation, self.state)
            self._score("validation", self.validation)
        if self.refitting:
            self.net.load_state_dict(weights)
            checkpoint.restore_random(states, self.device)

    def refit(self) -> None:
        """Learn anew from both parts, for as many epochs as were best, at the same rates. The state, with all that
        was counted and calibrated, stays. Where time does not suffice, what the training part taught is kept."""
        reason = self._against_refit()
        if reason is not None:
            self.watch.log(f"not learnt anew from the validation part as well: {reason}", "warning")
            return
        last = self.best.epoch
        if not self.refitting:
            self._begin_anew()
            self.watch.log(f"learning anew from {len(self.learner.examples)} examples of both parts, {last} epochs")
        while self.learner.epoch < last or self.learner.under_way is not None:
            loss = self._epoch()["train_loss"]
            self.learner.under_way = None
            if self._late():
                self.watch.log("the time is up: what the training part alone taught is kept", "warning")
                self.net.load_state_dict(self.best.weights)
                self.ended = "max_seconds"
                return
            self.watch.log(f"anew, epoch {self.learner.epoch} of {last}: train_loss {loss:.4g}")
            self._keep(every=0.0)
        self.metrics["refit_epochs"] = last

    def _against_refit(self) -> str | None:
        if self.validation is self.train:
            return "there is none"
        if self.best.epoch == 0:
            return "no epoch was better than the weights it began with"
        return "the training ended early" if self.ended in ("max_seconds", "pruned") else None

    def _begin_anew(self) -> None:
        """The first weights, and all that changes while learning, as they were at the beginning."""
        self.refitting = True
        self.net.load_state_dict(self.first)
        torch.manual_seed(self.config.seed)
        self.learner = self._second()

    def _second(self) -> Learner:
        return Learner(self.judge, self.team, self.watch.log, [*self.train, *self.validation])

    def _over(self) -> bool:
        """Whether there is nothing more to learn; the same answer after a resumption."""
        if self.learner.under_way is not None:
            return False
        self.ended = self._ended()
        return self.ended is not None

    def _ended(self) -> Ended | None:
        if self.best.stale >= self.config.patience and self.learner.step >= LEAST_STEPS:
            self.watch.log(f"no better score for {self.best.stale} epochs: stopping after epoch {self.learner.epoch}")
            return "patience"
        if self.learner.epoch > 0 and self._late():
            self.watch.log(
                f"the time of {self.max_seconds:g} s is up: stopping after epoch {self.learner.epoch}", "warning"
            )
            return "max_seconds"
        if self.learner.epoch >= self.config.epochs:
            return "epochs"
        return "pruned" if self._enough() else None

    def _enough(self) -> bool:
        """Whether who watches wants no more of it."""
        if self.learner.epoch == 0:
            return False
        reason = self.watch.enough(epoch=self.learner.epoch, best=self.best.value) if self.team.rank == 0 else None
        if reason is not None:
            self.watch.log(f"{reason}: stopping after epoch {self.learner.epoch}")
        return self.team.summed([reason is not None])[0] > 0

    def _late(self) -> bool:
        if self.max_seconds is None:
            return False
        late = self.team.rank == 0 and time.monotonic() - self.started > self.max_seconds
        return self.team.summed([late])[0] > 0

    def _epoch(self) -> dict[str, float]:
        """One pass, or the rest of one that was under way, and what it measured."""
        told = 0.0
        for chosen in self.learner.rest():
            reason = self.watch.stop()
            if self.team.summed([reason is not None])[0]:
                self._keep(every=None)
                raise Stopped(reason or "another process of this training was asked to")
            self.learner.learn(chosen)
            if self._late():
                break
            if time.monotonic() - told > 0.5:
                told = time.monotonic()
                self.watch.progress(self._progress(self._fraction()))
                self._keep(every=KEEP_EVERY)
        return self.learner.measured()

    def _fraction(self) -> float:
        """Of all there is to learn; learning anew is reckoned as much work as what came before."""
        learner = self.learner
        if not self.config.refit:
            return learner.step / learner.steps
        epochs = self.best.epoch if self.refitting else self.config.epochs
        return 0.5 * (self.refitting + learner.step / (learner.per_epoch * epochs))

    def _progress(self, fraction: float) -> Progress:
        spent = time.monotonic() - self.started
        eta = None if fraction <= 0 else spent * (1 - fraction) / fraction
        return Progress(
            fraction=round(min(1.0, fraction), 4),
            epoch=self.learner.epoch,
            epochs=self.best.epoch if self.refitting else self.config.epochs,
            step=self.learner.step,
            steps=self.learner.steps,
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
        keeper.resumed(epoch=self.learner.epoch, step=self.learner.step)
        self.watch.log(f"going on from step {self.learner.step} (epoch {self.learner.epoch})")

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
            **self.learner.tensors(),
            **checkpoint.nested("best", self.best.weights),
            **checkpoint.nested("random", checkpoint.random_states(self.device)),
        }
        facts = {
            **self.learner.facts(),
            **self.best.facts(),
            "refitting": self.refitting,
            "ended": self.ended,
            "history": [asdict(report) for report in self.history],
            "seconds": time.monotonic() - self.started,
        }
        return Checkpoint(tensors=tensors, facts=facts)

    def _restore(self, kept: Checkpoint) -> None:
        tensors, facts = kept.tensors, kept.facts
        self.refitting, self.ended = facts["refitting"], facts["ended"]
        if self.refitting:
            self.learner = self._second()
        self.learner.restore(tensors, facts)
        self.best.restore(facts, checkpoint.under("best", tensors), next(self.net.parameters()).device)
        checkpoint.restore_random(checkpoint.under("random", tensors), self.device)
        self.history = [EpochReport(**report) for report in facts["history"]]
        self.started = time.monotonic() - facts["seconds"]

    # judging

    def _judge(self) -> dict[str, float]:
        scores = self.team.told(lambda: self.judge.evaluate(self.validation, self.state))
        self.best.offer(scores, self.net, self.learner.epoch)
        return {"validation_loss": scores.pop("loss"), **scores}

    def _warn_of_dead_learning(self) -> None:
        """Say once, a third of the way and again at the end, that a constant guess is as good."""
        if self.learner.epoch not in {max(3, self.config.epochs // 3), self.config.epochs}:
            return
        guess = self.codec.guess([example.answer for example in self.validation], self.state)
        if guess is None or self.best.beats(guess):
            return
        self.watch.log(
            f"after epoch {self.learner.epoch} the best {self.codec.card.metric} is {self.best.value:.3g}, no better "
            f"than {guess:.3g} for always giving the same answer: "
            "nothing is learnt yet; see whether labels fit their rows, or raise `epochs`",
            "warning",
        )

    def finish(self) -> Trained:
        """What is left behind; by the first of a team, the test part scored."""
        if self.team.rank == 0 and self.examples["test"]:
            self._score("test", self.examples["test"])
        self.watch.progress(self._progress(1.0))
        return Trained(
            net=self.net,
            state=self.state,
            metrics={name: value for name, value in self.metrics.items() if math.isfinite(value)},
            history=self.history,
            parameters=count(self.net),
            seconds=time.monotonic() - self.started,
            ended=self.ended or "epochs",
            examples=self.examples,
        )

    def _score(self, part: Part, examples: Sequence[Example]) -> None:
        scores = self.judge.evaluate(examples, self.state)
        self.metrics |= {f"{part}_{name}": value for name, value in scores.items()} | scores


def count(net: nn.Module) -> int:
    """Learnt numbers of a network."""
    return sum(parameter.numel() for parameter in net.parameters())
