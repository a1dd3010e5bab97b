"""The rows of a task's own sample, in their parts. Knows a card, no task by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import models.tasks
from models.task import PARTS, Card, Part


def sample(card: Card) -> dict[Part, list[Any]]:
    """The rows by part; where they name none, a task that splits by time has them in all, another every fifth held out."""
    path = Path(models.tasks.__path__[0]) / card.name / "sample.jsonl"
    rows = [card.row.model_validate_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
    by_time = card.split_by == "time"
    parts: dict[Part, list[Any]] = {part: [] for part in PARTS}
    for index, row in enumerate(rows):
        named = getattr(row, "split", None)
        default = PARTS if by_time else ("validation",) if index % 5 == 0 else ("train",)
        for part in (named,) if named else default:
            parts[part].append(row)
    return parts
