"""A training laid down in one file, to be taken up again: tensors and JSON, never code. Knows files and torch, no task.

The file is safetensors; what is no tensor stands in its header as JSON. Written beside its place and
moved there, so that a reader finds a whole one or none.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

FORMAT = 1


class CheckpointError(ValueError):
    """A checkpoint that this training cannot go on from; a sentence."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything that a training needs to go on as if it had never stopped."""

    tensors: dict[str, torch.Tensor]
    facts: dict[str, Any]

    def save(self, path: Path) -> None:
        """Write the file: all of it, or nothing."""
        part = path.with_suffix(".part")
        facts = json.dumps({"format": FORMAT, **self.facts})
        save_file(self.tensors, part, metadata={"facts": facts})
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)


def load(path: Path) -> Checkpoint:
    """Read a file. Raises `CheckpointError`."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("facts", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    except (SafetensorError, OSError, ValueError):
        raise CheckpointError("the file is not a readable checkpoint") from None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise CheckpointError(f"the checkpoint is not of format {FORMAT}")
    return Checkpoint(tensors=tensors, facts=facts)


class Keeper(Protocol):
    """Who keeps the checkpoints of a training."""

    def latest(self) -> Checkpoint | None:
        """The one to go on from. Raises `CheckpointError`."""
        ...

    def resumed(self, *, epoch: int, step: int) -> None:
        """The training goes on from the latest."""
        ...

    def keep(self, checkpoint: Checkpoint) -> None:
        """Take this one; the earlier ones are no longer needed."""
        ...


def nested(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors of their own memory on the CPU, their names under a prefix."""
    return {f"{prefix}.{name}": tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}


def under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What lies under a prefix, by its bare names."""
    start = prefix + "."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """What an optimiser remembers of each parameter, by `<index>.<name>`."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": torch.as_tensor(value) for index, held in state.items() for name, value in held.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Give an optimiser its memory back."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, field = name.partition(".")
        state.setdefault(int(index), {})[field] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def random_states(device: str) -> dict[str, torch.Tensor]:
    """Torch's random generators: the CPU's, and the device's where it has its own."""
    found = {"cpu": torch.get_rng_state()}
    if device.startswith("cuda"):
        found["device"] = torch.cuda.get_rng_state(device)
    elif device.startswith("mps"):
        found["device"] = torch.mps.get_rng_state()
    return found


def restore_random(states: dict[str, torch.Tensor], device: str) -> None:
    """Set the generators; those of a device that is not there are passed over."""
    torch.set_rng_state(states["cpu"])
    if "device" in states and device.startswith("cuda"):
        torch.cuda.set_rng_state(states["device"], device)
    elif "device" in states and device.startswith("mps"):
        torch.mps.set_rng_state(states["device"])
