"""Trains a task that gives a label over several seeds, and prints a line of figures. Knows the contract of tasks."""

from __future__ import annotations

import random
import statistics
import time
from typing import Any

from models import catalog
from models.trainer import train

NOISE = ("jitter", "scaling", "shifting", "warping", "cropping")
PLAIN = {"motion": "none", "convolutions": 0, "pooling": "last", **dict.fromkeys(NOISE, 0)}
"""A recurrent network without what the defaults add to it."""


def kept_back(rows: list[Any], *, seed: int, share: float = 0.2) -> dict[str, list[Any]]:
    """Training and validation parts: of each label the same share is kept back, chosen by the seed."""
    parts: dict[str, list[Any]] = {"train": [], "validation": []}
    for label in sorted({row.label for row in rows}):
        same = [row for row in rows if row.label == label]
        random.Random(seed).shuffle(same)  # noqa: S311  a split, no secret
        count = max(1, round(share * len(same)))
        parts["validation"] += same[:count]
        parts["train"] += same[count:]
    return parts


def trained(task: str, name: str, parts_of: Any, seeds: list[int], config: dict[str, Any]) -> None:
    """Print accuracy and training time over the seeds; `parts_of(seed)` gives the rows of each part."""
    card, figures, seconds = catalog.card(task), [], []
    for seed in seeds:
        began = time.monotonic()
        made = train(catalog.codec(task), catalog.network(task), parts_of(seed), card.config(seed=seed, **config))
        figures.append(
            (made.metrics["validation_accuracy"], made.metrics["test_accuracy"], made.metrics["test_macro_f1"])
        )
        seconds.append(time.monotonic() - began)
    validation, test, macro = zip(*figures, strict=True)
    each = " ".join(f"{accuracy:.1%}" for accuracy in test)
    print(
        f"{name:34} validation {statistics.mean(validation):6.1%}   test {statistics.mean(test):6.1%} ({each})   "
        f"macro F1 {statistics.mean(macro):.3f}   {statistics.mean(seconds):.0f} s   {made.parameters} parameters",
        flush=True,
    )
