"""Memory that runs out while torch learns. Knows torch's ways of saying so, no task."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from models.monitor import TrainingError
from models.task import Config

T = TypeVar("T")


def guarded(work: Callable[[], T], config: Config) -> T:
    """Do the work; running out of memory becomes a `TrainingError` that says what would fit."""
    try:
        return work()
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise too_large(config, max(1, config.batch_steps // 2)) from error


def too_large(config: Config, fits: int) -> TrainingError:
    """What to say when batches of `config` are too large; `fits` padded steps would do."""
    return TrainingError(
        "out-of-memory",
        f"the memory did not hold batches of {config.batch_steps} steps with {config.widths} units",
        f"set `batch_steps` to {fits}, which would fit, or use fewer `hidden` units",
    )


def out_of_memory(error: Exception) -> bool:
    """Whether memory ran out. Torch has a type for it on accelerators, and on the CPU a sentence alone."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)
