"""What the children of a parent come to, and which of them is best. Knows numbers, no database and no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.jobs.problems import problem
from app.jobs.queue import Child
from models.task import Card


@dataclass(frozen=True, kw_only=True)
class Concluded:
    """What a parent's children come to: a result and the artifact to register, or a problem."""

    result: dict[str, Any]
    artifact: str | None = None
    problem: dict[str, Any] | None = None
    study: dict[str, Any] | None = None
    """What the version is registered with: how it was found."""


def merit(card: Card, child: Child) -> tuple[float, float]:
    """How good a run is by validation: greater is better, the loss breaks ties."""
    metrics = metrics_of(child)
    sign = 1 if card.higher_is_better else -1
    loss = metrics.get("validation_loss", math.inf)
    return sign * metrics.get(f"validation_{card.metric}", -sign * math.inf), -loss


def all_failed(children: Sequence[Child]) -> dict[str, Any]:
    """The problem of a parent of which nothing is left: the cause of its first run."""
    first = next((child.error for child in children if child.error), None) or {}
    detail = f"none of {len(children)} runs succeeded; the first: {first.get('detail', 'it was cancelled')}"
    return problem(first.get("type", "no-run-succeeded"), detail, first.get("remedy", "retry the job"))


def metrics_of(child: Child) -> dict[str, float]:
    """The metrics that a run ended with; none where it did not."""
    found: dict[str, float] = (child.result or {}).get("metrics", {})
    return found
