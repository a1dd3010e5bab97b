"""The gradient of one batch: whole, in two halves where memory is short, shared by a team. Knows no epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from models.batch import Example
from models.devices import give_back
from models.judge import Judge
from models.memory import out_of_memory, too_large
from models.team import Team


class Gradient:
    """Computes gradients of the mean loss of a batch, the same one however it is cut."""

    def __init__(self, judge: Judge, team: Team, log: Callable[[str, str], None]) -> None:
        self.judge, self.team, self.log = judge, team, log
        self.parameters: list[nn.Parameter] = [p for p in judge.net.parameters() if p.requires_grad]
        self.halved = False
        """Whether memory ran out once: batches are since then learnt from in two halves."""
        self.fitted = 0
        """Padded steps of the largest batch, or half, that memory held."""

    def of(self, chosen: list[Example]) -> tuple[float, int]:
        """The summed loss of a batch and its count; the gradient of its mean lies in the parameters.

        Raises `TrainingError` where memory does not hold half a batch.
        """
        mine = self.team.share(chosen)
        total, n, full = self.team.summed(self._tried(mine))
        if full:
            if self.halved or len(chosen) == 1:
                config = self.judge.config
                raise too_large(config, self.fitted or max(1, config.batch_steps // 4))
            self.halved = True
            self.log("memory ran out: from here on each batch is learnt from in two halves", "warning")
            return self.of(chosen)
        if self.team.size > 1:
            self.team.add_gradients(self.parameters)
        if self.team.size > 1 or self.halved:
            for parameter in self.parameters:
                if parameter.grad is not None:
                    parameter.grad /= max(1.0, n)
        return total, int(n)

    def _tried(self, examples: list[Example]) -> tuple[float, float, float]:
        """Loss, count, and 1 where memory ran out: told to the team, so that no process waits for one that failed."""
        self._clear()
        try:
            return (*self._learnt_from(examples), 0.0)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
        self._clear()
        give_back(self.judge.device)
        return 0.0, 0.0, 1.0

    def _learnt_from(self, examples: list[Example]) -> tuple[float, int]:
        if self.team.size == 1 and not self.halved:
            total, n = self._loss(examples)
            (total / max(1, n)).backward()
            return total.item(), n
        summed, counted = 0.0, 0
        for part in (examples[::2], examples[1::2]) if self.halved else (examples,):
            if part:
                total, n = self._loss(part)
                total.backward()
                summed, counted = summed + total.item(), counted + n
        return summed, counted

    def _loss(self, examples: list[Example]) -> tuple[Any, int]:
        total, n = self.judge.loss(self.judge.codec.collate(examples))
        self.fitted = max(self.fitted, len(examples) * max(example.length for example in examples))
        return total, n

    def _clear(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None
