"""Threads that take batches from many queues and answer them. Knows time and fairness, never tensors.

A stream takes its next batch itself, without a word to the event loop: under load none waits for another thread.
Models share the streams by the time they used; what is interactive goes before what is bulk.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Callable
from typing import Protocol

QUICK = 20.0
"""A forward pass shorter than so many hand-overs is run where the request is, if nothing else is under way."""
LONGEST_INLINE = 0.002
"""Seconds for which an event loop may stand still."""


class Queue(Protocol):
    """Where work waits."""

    used: float
    """Seconds of streams that it had; the streams' own account."""

    def depth(self, *, bulk: bool) -> int:
        """Items that wait in one lane."""
        ...

    def take(self, *, idle: int) -> tuple[Callable[[], None], float] | float:
        """A batch, as what answers it and how long that may take; or the seconds it is worth waiting for more."""
        ...


class Streams:
    """As many forward passes at once as there are threads. Queues are changed under `ready` alone."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.ready = threading.Condition()
        self.queues: list[Queue] = []
        self.requests = 0
        """Requests of all models that are not answered yet."""
        self.asked = 0
        """Requests of all models ever."""
        self.idle = 0
        self._closing = False
        self._clock = 0.0
        """What the queue that was served last had used: one that comes back begins there."""
        self._threads = [threading.Thread(target=self._work, name=f"stream-{n}", daemon=True) for n in range(count)]
        self.hand_over = 100e-6
        """Seconds until a stream begins with what it is given, and its answer is back."""

    async def start(self) -> None:
        """Start the threads, and measure `hand_over` on this machine, now."""
        for thread in self._threads:
            thread.start()
        loop = asyncio.get_running_loop()
        taken = []
        for _ in range(20):
            done = loop.create_future()
            began = time.perf_counter()
            errand = _Errand(lambda: loop.call_soon_threadsafe(done.set_result, None))  # noqa: B023
            self.add(errand)
            with self.ready:
                self.ready.notify()
            await done
            taken.append(time.perf_counter() - began)
            self.remove(errand)
        self.hand_over = statistics.median(taken)

    def add(self, queue: Queue) -> None:
        """Serve a queue from now on."""
        with self.ready:
            queue.used = self._clock
            self.queues.append(queue)

    def remove(self, queue: Queue) -> None:
        """Serve it no more."""
        with self.ready:
            self.queues.remove(queue)

    def quick(self, seconds: float) -> bool:
        """Whether work of so long is better done at once than handed over."""
        return seconds < min(QUICK * self.hand_over, LONGEST_INLINE)

    def close(self) -> None:
        """End the threads when they have answered what they hold."""
        with self.ready:
            self._closing = True
            self.ready.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _work(self) -> None:
        while True:
            with self.ready:
                while (run := self._next()) is None:
                    if self._closing:
                        return
            run()

    def _next(self) -> Callable[[], None] | None:
        """Work for this thread; None after waiting for some."""
        pause = 0.0
        for bulk in (False, True):
            waiting = [queue for queue in self.queues if queue.depth(bulk=bulk)]
            while waiting:
                queue = min(waiting, key=lambda queue: queue.used)
                taken = queue.take(idle=self.idle)
                if isinstance(taken, float):
                    pause = max(pause, taken)
                    waiting.remove(queue)
                    continue
                run, seconds = taken
                self._clock = max(self._clock, queue.used)
                queue.used = self._clock + seconds
                return run
        if pause > 0:
            self.ready.wait(pause)
            return None
        if not self._closing:
            self.idle += 1
            self.ready.wait()
            self.idle -= 1
        return None


class _Errand:
    """A queue of one piece of work, to see how long it takes to be done."""

    def __init__(self, run: Callable[[], object]) -> None:
        self.used, self._run, self._left = 0.0, run, 1

    def depth(self, *, bulk: bool) -> int:
        return 0 if bulk else self._left

    def take(self, *, idle: int) -> tuple[Callable[[], None], float]:
        self._left = 0
        return lambda: (self._run(), None)[1], 0.0
