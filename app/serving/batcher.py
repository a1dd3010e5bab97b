"""Groups waiting items into batches. Knows time and queues, never tensors.

One batcher serves one loaded version. Nothing waits while a stream is idle; while all are busy what
comes in gathers, and the next free stream takes what fits together: equal params, near lengths.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from app.errors import Full, Late

BATCH = 64
"""Items in a batch at most."""
STRETCH = 1.5
"""How much longer than the first of its batch an item may be."""


class Waiting(Protocol):
    """What is batched: anything with a length."""

    @property
    def length(self) -> int: ...


class Model(Protocol):
    """What answers a batch."""

    def answer(self, examples: Sequence[Any], params: Any) -> list[Any]: ...


@dataclass(slots=True)
class Stats:
    """What a batcher has done."""

    requests: int = 0
    batches: int = 0
    largest: int = 0
    refused: int = 0
    late: int = 0
    seconds: float = 0.0
    """Time spent in forward passes."""


@dataclass(slots=True)
class _Item:
    example: Waiting
    params: Any
    key: Hashable
    deadline: float
    future: asyncio.Future[Any] = field(repr=False)


class Batcher:
    """Batches for one model. Belongs to one event loop; the forward runs in `pool`, off it."""

    def __init__(self, model: Model, pool: ThreadPoolExecutor, *, streams: int = 1, capacity: int = 1024) -> None:
        self.model, self.pool, self.capacity = model, pool, capacity
        self.stats = Stats()
        self._idle = streams
        self._streams = streams
        self._waiting: deque[_Item] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pace = 0.01  # seconds per item, a moving average

    @property
    def depth(self) -> int:
        """Items that wait."""
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether anything waits or runs."""
        return bool(self._waiting or self._tasks)

    async def submit(self, examples: Sequence[Waiting], params: Any, *, key: Hashable, deadline: float) -> list[Any]:
        """The answers to some examples, in order; all of them or an error. `deadline` is on `time.monotonic`.

        Raises `Full` when the queue cannot hold them, `Late` when the deadline passes first. When the
        caller is cancelled, what has not begun is dropped.
        """
        self.stats.requests += 1
        if len(self._waiting) + len(examples) > self.capacity and self._waiting:
            self.stats.refused += 1
            wait = self._pace * len(self._waiting) / self._streams
            raise Full(f"{len(self._waiting)} items are waiting for this model", retry_after=wait)
        loop = asyncio.get_running_loop()
        items = [_Item(example, params, key, deadline, loop.create_future()) for example in examples]
        self._waiting.extend(items)
        self._start()
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return [await item.future for item in items]
        except TimeoutError:
            self.stats.late += 1
            raise _late() from None
        finally:
            for item in items:
                item.future.cancel()

    def _start(self) -> None:
        while self._idle and (batch := self._next()):
            self._idle -= 1
            task = asyncio.get_running_loop().create_task(self._run(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _next(self) -> list[_Item]:
        """The oldest item that is still wanted, and others that go well with it."""
        now = time.monotonic()
        while self._waiting and not self._wanted(self._waiting[0], now):
            self._waiting.popleft()
        if not self._waiting:
            return []
        first = self._waiting[0]
        low, high = first.example.length / STRETCH, first.example.length * STRETCH
        batch: list[_Item] = []
        kept: deque[_Item] = deque()
        for item in self._waiting:
            fits = len(batch) < BATCH and item.key == first.key and low <= item.example.length <= high
            if not fits:
                kept.append(item)
            elif self._wanted(item, now):
                batch.append(item)
        self._waiting = kept
        return batch

    def _wanted(self, item: _Item, now: float) -> bool:
        if item.future.done():
            return False
        if now > item.deadline:
            _fail(item, _late())
            return False
        return True

    async def _run(self, batch: list[_Item]) -> None:
        began = time.monotonic()
        try:
            await self._answer(batch)
        finally:
            spent = time.monotonic() - began
            self.stats.batches += 1
            self.stats.largest = max(self.stats.largest, len(batch))
            self.stats.seconds += spent
            self._pace = 0.9 * self._pace + 0.1 * spent / len(batch)
            self._idle += 1
            self._start()

    async def _answer(self, batch: list[_Item]) -> None:
        """Answer a batch; when that fails, each alone: what is wrong with one is no fault of its company."""
        loop = asyncio.get_running_loop()
        try:
            examples = [item.example for item in batch]
            outputs = await loop.run_in_executor(self.pool, self.model.answer, examples, batch[0].params)
            for item, output in zip(batch, outputs, strict=True):
                if not item.future.done():
                    item.future.set_result(output)
        except Exception as error:
            if len(batch) == 1:
                _fail(batch[0], error)
                return
            for item in batch:
                if not item.future.done():
                    await self._answer([item])

    async def drain(self) -> None:
        """Wait until everything that was submitted is answered."""
        while self.busy:
            await asyncio.sleep(0.005)


def _late() -> Late:
    return Late("the deadline passed before the answer was there", retry_after=1.0)


def _fail(item: _Item, error: Exception) -> None:
    if not item.future.done():
        item.future.set_exception(error)
        item.future.exception()  # seen: a caller who left must not leave a warning behind
