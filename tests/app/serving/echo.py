"""A batcher over a model that echoes, for tests of queues. Knows no arrays."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from app.serving.batcher import Batcher
from app.serving.pace import GUESS, Pace
from app.serving.streams import Streams

ALONE = Pace(fixed=0.0, step=0.0, item=1e-3, padded=0.0, measured=False)
"""Of a model where company saves nothing."""


@dataclass(frozen=True)
class Asked:
    """An example."""

    name: str
    length: int = 4


@dataclass
class Echo:
    """Answers with the name and the params, and holds still while `gate` is closed."""

    gate: threading.Event = field(default_factory=threading.Event)
    seen: list[list[str]] = field(default_factory=list)
    threads: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def answer(self, examples: Sequence[Asked], params: str) -> list[str]:
        self.seen.append([example.name for example in examples])
        self.threads.append(threading.current_thread().name)
        assert self.gate.wait(10)
        time.sleep(self.seconds)
        if any(example.name == "bad" for example in examples):
            raise ValueError("bad")
        return [f"{example.name}/{params}" for example in examples]


@dataclass
class Desk:
    """Where tests ask."""

    model: Echo
    batcher: Batcher

    def ask(self, *names: str, length: int = 4, **how: object) -> asyncio.Task[list[str]]:
        """One request of examples of a length."""
        return self.send([Asked(name, length) for name in names], **how)

    def send(
        self,
        examples: Sequence[Asked],
        *,
        params: str = "p",
        deadline: float | None = None,
        caller: str = "",
        bulk: bool = False,
    ) -> asyncio.Task[list[str]]:
        """One request."""
        until = deadline or time.monotonic() + 10
        return asyncio.create_task(
            self.batcher.submit(examples, params, key=params, deadline=until, caller=caller, bulk=bulk)
        )

    async def begun(self, batches: int) -> None:
        """Once so many batches have begun."""
        while len(self.model.seen) < batches:
            await asyncio.sleep(0.001)

    async def open(self) -> None:
        """Let the model answer, once all that was asked is in the queue."""
        await asyncio.sleep(0)
        self.model.gate.set()


async def order(model: Echo, tasks: Sequence[asyncio.Task[list[str]]]) -> list[str]:
    """The names of what was asked, in the order in which the model answers once all of it has come."""
    await asyncio.sleep(0.01)
    model.gate.set()
    await asyncio.gather(*tasks)
    return [name for batch in model.seen for name in batch]


def run(work: Callable[[Desk], Awaitable[None]], *, streams: int = 1, pace: Pace = GUESS, capacity: int = 64) -> Echo:
    """Run a coroutine over a batcher whose model's gate is closed at first."""
    model = Echo()

    async def main() -> None:
        held = Streams(streams)
        await held.start()
        try:
            await work(Desk(model, Batcher(model, held, capacity=capacity, pace=pace)))
        finally:
            model.gate.set()
            held.close()

    asyncio.run(main())
    return model
