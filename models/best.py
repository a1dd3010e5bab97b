"""The best epoch so far: its weights, its score, and for how long none was better. Knows scores; no loop, no task."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from models.task import Card


class Best:
    """Of all epochs that were judged the one with the best metric of the card; a tie is broken by the loss."""

    def __init__(self, card: Card, net: nn.Module) -> None:
        self._metric, self._sign = card.metric, 1.0 if card.higher_is_better else -1.0
        self.weights: dict[str, torch.Tensor] = copy.deepcopy(net.state_dict())
        self._score = (-math.inf, -math.inf)
        self.epoch = 0
        self.stale = 0
        """Epochs judged since."""

    @property
    def value(self) -> float:
        """The metric of the best epoch; as bad as can be before any gave a number."""
        return self._sign * self._score[0]

    @property
    def found(self) -> bool:
        """Whether any epoch gave a number."""
        return math.isfinite(self._score[0])

    def beats(self, value: float) -> bool:
        """Whether it is better than a value of the metric."""
        return self._score[0] > self._sign * value

    def offer(self, scores: Mapping[str, float], net: nn.Module, epoch: int) -> None:
        """An epoch was judged: its scores, with its `loss` among them, and its weights."""
        score = (self._sign * scores[self._metric], -scores["loss"])
        if all(map(math.isfinite, score)) and score > self._score:
            self._score, self.epoch, self.stale = score, epoch, 0
            self.weights = copy.deepcopy(net.state_dict())
        else:
            self.stale += 1

    def facts(self) -> dict[str, Any]:
        """All but the weights, as JSON."""
        score = [None if math.isinf(value) else value for value in self._score]
        return {"best_score": score, "best_epoch": self.epoch, "stale": self.stale}

    def restore(self, facts: Mapping[str, Any], weights: Mapping[str, torch.Tensor], device: torch.device) -> None:
        """What `facts` told, and the weights."""
        first, second = (-math.inf if value is None else value for value in facts["best_score"])
        self._score, self.epoch, self.stale = (first, second), facts["best_epoch"], facts["stale"]
        self.weights = {name: tensor.to(device) for name, tensor in weights.items()}
