"""Processes that share one training: each learns from its share of every batch, and their gradients are added.

Knows torch.distributed (gloo on CPUs, NCCL on NVIDIA's GPUs); no task, no loop. Of a batch of N examples the
process of rank r takes the r-th, the (r + size)-th ...; the sums of loss, count and gradient over all processes are
those of the whole batch, so that the result is one process's within rounding (synchronous data parallel training,
Li et al. 2020). What was run: gloo. NCCL is written for and was not run.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Protocol

import torch
from torch import distributed, nn

PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others: for as long as a part may take to be scored."""


class Team(Protocol):
    """The processes of one training, as one of them sees them."""

    rank: int
    size: int

    def share(self, examples: list[Any]) -> list[Any]:
        """This process's part of a batch."""
        ...

    def summed(self, numbers: Sequence[float]) -> list[float]:
        """Each number added up over the processes."""
        ...

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Gradients added up over the processes; one that a process has not counts as zero."""
        ...

    def told(self, work: Callable[[], Any]) -> Any:
        """What the first process found (JSON); the others wait for it."""
        ...

    def seeded(self, seed: int, step: int) -> None:
        """Called before each step: draws that depend on seed, step and rank alone, where there are several."""
        ...

    def close(self) -> None: ...


class Alone:
    """A team of one."""

    rank, size = 0, 1

    def share(self, examples: list[Any]) -> list[Any]:
        return examples

    def summed(self, numbers: Sequence[float]) -> list[float]:
        return list(numbers)

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None: ...

    def told(self, work: Callable[[], Any]) -> Any:
        return work()

    def seeded(self, seed: int, step: int) -> None: ...

    def close(self) -> None: ...


class Processes:
    """A team of processes that meet at a file, or at the first of them."""

    def __init__(self, *, rank: int, size: int, meeting: str, device: str) -> None:
        self.rank, self.size = rank, size
        self.device = torch.device(device)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        elif meeting.startswith(("file://", "tcp://127.")):  # all are on this machine
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
        distributed.init_process_group(
            "nccl" if self.device.type == "cuda" else "gloo",
            init_method=meeting,
            rank=rank,
            world_size=size,
            timeout=PATIENCE,
        )

    def share(self, examples: list[Any]) -> list[Any]:
        return examples[self.rank :: self.size]

    def summed(self, numbers: Sequence[float]) -> list[float]:
        held = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        distributed.all_reduce(held)
        found: list[float] = held.tolist()
        return found

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
        distributed.all_reduce(flat)
        for parameter, grad in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
            parameter.grad = grad.view_as(parameter)

    def told(self, work: Callable[[], Any]) -> Any:
        data = json.dumps(work()).encode() if self.rank == 0 else b""
        size = torch.tensor([len(data)], dtype=torch.int64, device=self.device)
        distributed.broadcast(size, src=0)
        held = torch.zeros(int(size), dtype=torch.uint8, device=self.device)
        if self.rank == 0:
            held.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        distributed.broadcast(held, src=0)
        return json.loads(bytes(held.cpu().tolist()))

    def seeded(self, seed: int, step: int) -> None:
        torch.manual_seed((seed * 1_000_003 + step) * self.size + self.rank)

    def close(self) -> None:
        distributed.destroy_process_group()


def lost(error: RuntimeError) -> bool:
    """Whether another process of the team died: gloo says so in a sentence, NCCL by a type of its own."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error)
