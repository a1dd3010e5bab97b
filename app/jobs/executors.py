"""Where a job's work runs: a child process of the worker. Knows processes and pipes, not jobs or databases.

The child is forked from a server that has torch loaded already, so it starts in a second; a crash or a
leak dies with it, and it dies with its worker: the pipe between them closes.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

from models.task import Part

Message = tuple[str, dict[str, Any]]
SIGNALS = {each.value: each.name for each in signal.Signals}


class Gone(Exception):
    """The work ended without its last word."""

    def __init__(self, how: str, *, killed: bool = False) -> None:
        super().__init__(how)
        self.how, self.killed = how, killed
        """What ended it, as far as that is known: `SIGSEGV`, `exit code 1`; and whether that was somebody else."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """Everything that a piece of work needs, as plain data."""

    job: str
    task: str
    config: dict[str, Any]
    rows: Path
    """The data set's canonical rows."""
    vectors: Path | None
    folder: Path
    """An empty folder for the artifact."""
    checkpoints: Path
    """An empty folder for checkpoints on their way to the worker."""
    checkpoint: Path | None
    """The one that a training goes on from."""
    kind: str = "train"
    version: Path | None = None
    """The zip of the version that the work is about: of a training, the one whose weights it begins with."""
    reference: str | None = None
    """That version as `name:version`."""
    part: Part | None = None
    """The part that the version is asked about; None: every row."""
    params: dict[str, Any] = field(default_factory=dict)
    """With which it is asked."""
    total: int = 0
    """Rows that it is asked about."""
    place: dict[str, Any] = field(default_factory=dict)
    """Where to go on; empty at the start."""
    pieces: tuple[Path, ...] = ()
    """What was laid down before that place, where the work must read it again."""
    dataset: dict[str, Any]
    threads: int
    devices: tuple[str, ...]
    """Where each process of the training computes; the first of them speaks for all."""
    memory: int = 0
    """Bytes that the job asked for; 0: it named none."""
    meeting: str
    """Where several processes meet: `file://`, a file that is not there yet, or `tcp://`, the first of them."""
    max_seconds: float | None
    looks_every: int = 0
    """Epochs after which a trial asks whether to go on; 0: it never asks."""


class Running(Protocol):
    """Work under way."""

    def messages(self, timeout: float) -> list[Message]:
        """What it has said, waiting for at most `timeout` seconds. Raises `Gone` when there will be no more."""
        ...

    def stop(self, reason: str) -> None:
        """Ask it to stop between two batches."""
        ...

    def answer(self, text: str | None) -> None:
        """Answer the question that it asked last and waits upon."""
        ...

    def kill(self) -> None:
        """End it now."""
        ...


class Executor(Protocol):
    """Runs orders."""

    def warm(self) -> None:
        """Load what every order begins with; orders then begin at once. May take seconds."""
        ...

    def start(self, order: Order) -> Running: ...

    def close(self) -> None: ...


class LocalExecutor:
    """Child processes on this machine."""

    def __init__(self) -> None:
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["app.jobs.training"])

    def warm(self) -> None:
        """Start the server that children are forked from; it forks none before it has loaded torch."""
        first = self._context.Process(target=_nothing, daemon=True)
        first.start()
        first.join()

    def start(self, order: Order) -> LocalRunning:
        members = []
        for rank in range(len(order.devices)):
            ours, theirs = self._context.Pipe()
            name = f"job {order.job} rank {rank}"
            process = self._context.Process(target=_child, args=(order, rank, theirs), name=name, daemon=True)
            process.start()
            theirs.close()
            members.append((process, ours))
        return LocalRunning(members)

    def close(self) -> None:
        """Nothing is held: children end with their pipes, the server with this process."""


class LocalRunning:
    """Child processes at one training; the first speaks for all, and none goes on without the others."""

    def __init__(self, members: Sequence[tuple[ForkServerProcess, Connection]]) -> None:
        self._members, self._starved = list(members), starved()
        self._process, self._pipe = members[0]

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def messages(self, timeout: float) -> list[Message]:
        found: list[Message] = []
        try:
            while self._pipe.poll(0 if found else timeout):
                found.append(self._pipe.recv())
        except (EOFError, OSError):  # it may have died in the middle of a word
            if not found:
                raise self._end() from None
        if not found and any(process.exitcode for process, _ in self._members):
            raise self._end()
        return found

    def _end(self) -> Gone:
        """How the first of them to end did. `SIGKILL` comes from the kernel, whose memory ran out, or from somebody."""
        self._process.join(2)  # its pipe closes a moment before it ends
        code = min((process.exitcode for process, _ in self._members if process.exitcode), default=0)
        how = SIGNALS.get(-code, f"exit code {code}")  # a signal is below 0, and comes before what followed from it
        if -code != signal.SIGKILL or self._starved is None:
            return Gone(how)
        if starved() == self._starved:
            return Gone(f"{how}, sent by somebody", killed=True)
        return Gone(f"{how} by the kernel, for memory ran out")

    def stop(self, reason: str) -> None:
        self._say(("stop", reason))

    def answer(self, text: str | None) -> None:
        self._say(("answer", text))

    def _say(self, message: tuple[str, str | None]) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # if it is gone, `messages` will say so
            self._pipe.send(message)

    def kill(self) -> None:
        for process, pipe in self._members:
            process.kill()
            process.join(5)
            pipe.close()


def starved(counters: Path = Path("/proc/vmstat")) -> int | None:
    """Processes that the kernel has ended for want of memory since the machine started, those of containers with a
    limit of their own among them; None where it does not say."""
    try:
        found = re.search(r"^oom_kill (\d+)$", counters.read_text(), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found[1])


def _nothing() -> None:
    """Once this runs, the server runs."""


def _child(order: Order, rank: int, pipe: Connection) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the worker's to handle
    heard = Heard(pipe)
    threading.Thread(target=heard.listen, daemon=True).start()
    training = importlib.import_module("app.jobs.training")
    training.run(order, pipe.send, heard.stop, ask=heard.ask, rank=rank)


class Heard:
    """What the worker says to its child."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._stop: str | None = None
        self._answers: SimpleQueue[str | None] = SimpleQueue()

    def listen(self) -> None:
        """Hear the worker out; when it is gone, so is its child."""
        try:
            while True:
                kind, text = self._pipe.recv()
                if kind == "stop":
                    self._stop = text
                else:
                    self._answers.put(text)
        except (EOFError, OSError):
            os._exit(1)

    def stop(self) -> str | None:
        """Why to stop; None while nobody wants it."""
        return self._stop

    def ask(self, message: Message) -> str | None:
        """The worker's answer to a question."""
        self._pipe.send(message)
        return self._answers.get()
