"""One process of a training on a Ray cluster: what the worker would do with a child, by calls instead of a pipe.

Knows files and the order; of the cluster its own address, and no job table. It may run on another machine than the
worker: files come and go in blocks. It dies with the worker whose it is, for Ray ends what a lost process started.
"""

from __future__ import annotations

import importlib
import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue

from app import scratch
from app.jobs.executors import Message, Order


class Member:
    """Does its part of one order. Several threads call it: one works, the others carry what it says."""

    def __init__(self) -> None:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in a worker's own children
        self._open = ExitStack()  # and never closed: the process is killed, and the next one clears up after it
        self._folder = self._open.enter_context(scratch.settled())
        self._said: SimpleQueue[Message] = SimpleQueue()
        self._answers: SimpleQueue[str | None] = SimpleQueue()
        self._stop: str | None = None

    def meeting(self) -> str:
        """Where the others may meet this process: an address of its machine that the cluster's others reach."""
        address = importlib.import_module("ray").util.get_node_ip_address()
        with socket.create_server((address, 0)) as free:
            return f"tcp://{address}:{free.getsockname()[1]}"

    def take(self, name: str, block: bytes) -> None:
        """The next bytes of a file."""
        with (self._folder / Path(name).name).open("ab") as file:
            file.write(block)

    def give(self, path: str, offset: int, size: int) -> bytes:
        """Bytes of a file that was named in a message; none are left at its end, and then it goes."""
        with Path(path).open("rb") as file:
            file.seek(offset)
            block = file.read(size)
        if not block:
            Path(path).unlink()
        return block

    def work(self, order: Order, rank: int) -> None:
        """Do the order, its files being here."""
        folder, checkpoints = self._folder / "artifact", self._folder / "checkpoints"
        folder.mkdir()
        checkpoints.mkdir()
        here = replace(
            order,
            rows=self._here(order.rows),
            vectors=order.vectors and self._here(order.vectors),
            checkpoint=order.checkpoint and self._here(order.checkpoint),
            version=order.version and self._here(order.version),
            pieces=tuple(map(self._here, order.pieces)),
            folder=folder,
            checkpoints=checkpoints,
        )
        training = importlib.import_module("app.jobs.training")
        training.run(here, self._said.put, lambda: self._stop, ask=self._ask, rank=rank)

    def messages(self, timeout: float) -> list[Message]:
        """What the work has said, waiting for at most `timeout` seconds."""
        found: list[Message] = []
        try:
            while True:
                found.append(self._said.get(timeout=0 if found else timeout))
        except Empty:
            return found

    def stop(self, reason: str) -> None:
        """Ask the work to stop between two batches."""
        self._stop = reason

    def answer(self, text: str | None) -> None:
        """Answer the question that the work asked last."""
        self._answers.put(text)

    def pid(self) -> int:
        return os.getpid()

    def _here(self, path: Path) -> Path:
        return self._folder / path.name

    def _ask(self, message: Message) -> str | None:
        self._said.put(message)
        return self._answers.get()


def files(order: Order) -> Sequence[Path]:
    """What an order's work reads, each once."""
    named = (order.rows, order.vectors, order.checkpoint, order.version, *order.pieces)
    return list(dict.fromkeys(path for path in named if path is not None))
