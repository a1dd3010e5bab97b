"""Groups waiting items into batches. Knows time, queues and costs, never tensors.

One batcher serves one loaded version. A request that is alone runs its own forward pass, where that is quick; so
does what came together, where an item costs less than handing it over. Else streams take what waits. A batch is the
item whose turn it is, and others that go well with it (equal params, near lengths, by the measured pace of the
version). Turns are fair among callers (start-time fair queueing, Goyal et
al. 1996): what one caller sends at once comes after the first of another's.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

from app.errors import Full
from app.serving.deadline import late
from app.serving.pace import GUESS, Pace
from app.serving.stats import SIZES, Stats
from app.serving.streams import Streams

CHEAP = 6.0
"""An item is answered where it came if it costs less than so many hand-overs, shared among the streams: threads that
wait for the interpreter cost more under load than a hand-over at rest, and less where many cores share the work."""
SEEN = 256
"""Waiting items that are looked at for one batch."""
AGED = 2.0
"""Seconds after which what is bulk has waited long enough to be served like the rest."""


class Waiting(Protocol):
    """What is batched: anything with a length."""

    @property
    def length(self) -> int: ...


class Model(Protocol):
    """What answers a batch."""

    def answer(self, examples: Sequence[Any], params: Any) -> list[Any]: ...


class _Request:
    """Some items that were asked together."""

    __slots__ = ("deadline", "future", "key", "left", "outputs", "params")

    def __init__(self, count: int, params: Any, key: Hashable, deadline: float, future: asyncio.Future[Any]) -> None:
        self.params, self.key, self.deadline, self.future = params, key, deadline, future
        self.outputs: list[Any] = [None] * count
        self.left = count


class _Item:
    """One of them, waiting for its turn."""

    __slots__ = ("came", "example", "here", "index", "request", "turn")

    def __init__(self, request: _Request, index: int, example: Waiting, turn: float, came: float) -> None:
        self.request, self.index, self.example, self.turn, self.came = request, index, example, turn, came
        self.here = False  # whether the event loop may answer it; streams answer any


class Batcher:
    """Batches for one model. Belongs to one event loop; forward passes run in `streams`, or here where cheap."""

    def __init__(
        self,
        model: Model,
        streams: Streams,
        *,
        capacity: int = 1024,
        pace: Pace = GUESS,
        most_steps: int | None = None,
        relieve: Callable[[], None] = lambda: None,
    ) -> None:
        """`most_steps`: padded steps of a batch at most, but for one item alone; `relieve` makes room in memory, and
        is called by a stream that had too little."""
        self.model, self.streams, self.capacity, self.pace = model, streams, capacity, pace
        self.most_steps, self.relieve = math.inf if most_steps is None else most_steps, relieve
        self.stats = Stats()
        self.used = 0.0
        self._lanes: tuple[list[_Item], list[_Item]] = ([], [])
        """Interactive and bulk, each in the order of turns."""
        self._clock = 0.0
        """The turn of the item that was served last."""
        self._turns: dict[Hashable, tuple[float, int]] = {}
        """Of each caller with requests under way: its next turn, and how many they are."""
        self._running = 0
        self._stale = False
        """Whether a request ended before its items were served."""
        self._due = False
        """Whether the event loop is about to answer what waits."""
        self._gap, self._came = math.inf, -math.inf
        """Seconds between items lately, and when the last one came."""
        self._drag = 1.0
        """How many times their expected time forward passes took lately: options may ask for more than usual."""
        streams.add(self)

    @property
    def waiting(self) -> int:
        """Items that wait."""
        return len(self._lanes[0]) + len(self._lanes[1])

    @property
    def busy(self) -> bool:
        """Whether anything waits or runs."""
        return bool(self.waiting or self._running)

    async def submit(
        self,
        examples: Sequence[Waiting],
        params: Any,
        *,
        key: Hashable,
        deadline: float,
        caller: Hashable = "",
        bulk: bool = False,
    ) -> list[Any]:
        """The answers to some examples, in order; all of them or an error. `deadline` is on `time.monotonic`.

        `key` is equal where params are. Raises `Full` when the queue cannot hold them, `Late` when the deadline
        passes first. When the waiting is cancelled, what has not begun is dropped.
        """
        self.stats.requests += 1
        self.streams.requests += 1
        self.streams.asked += 1
        here = True
        try:
            if await self._alone(examples) and time.monotonic() < deadline:
                try:
                    return self._inline(examples, params)
                except MemoryError:
                    here = False  # a stream makes room, and tries again
            return await self._queued(examples, params, key, deadline, caller, bulk=bulk, here=here)
        finally:
            self.streams.requests -= 1

    async def _alone(self, examples: Sequence[Waiting]) -> bool:
        """Whether these are better answered at once: nothing else is under way, and the loop may stand so long."""
        if self.streams.requests > 1 or not self.pace.measured:
            return False
        longest = max(example.length for example in examples)
        if len(examples) * longest > self.most_steps and len(examples) > 1:
            return False
        expected = self.pace.seconds(len(examples), longest)
        if not self.streams.quick(expected * self._drag):
            return False
        await asyncio.sleep(0)  # others may have come in the same moment
        return self.streams.requests == 1

    def _inline(self, examples: Sequence[Waiting], params: Any) -> list[Any]:
        began = time.perf_counter()
        try:
            return self.model.answer(examples, params)
        finally:
            self.stats.inline += 1
            self._counted([example.length for example in examples], time.perf_counter() - began)

    async def _queued(
        self,
        examples: Sequence[Waiting],
        params: Any,
        key: Hashable,
        deadline: float,
        caller: Hashable,
        *,
        bulk: bool,
        here: bool,
    ) -> list[Any]:
        self._admit(len(examples))
        loop = asyncio.get_running_loop()
        request = _Request(len(examples), params, key, deadline, loop.create_future())
        timer = loop.call_later(max(0.0, deadline - time.monotonic()), self._expire, request)
        self._enqueue(request, examples, caller, bulk=bulk, here=here)
        try:
            await request.future
        except asyncio.CancelledError:
            self.stats.left += 1
            self._stale = True
            raise
        finally:
            timer.cancel()
            begins, others = self._turns[caller]
            if others > 1:
                self._turns[caller] = begins, others - 1
            else:
                del self._turns[caller]
        return request.outputs

    def _admit(self, count: int) -> None:
        if self.waiting + count > self.capacity and self.waiting:
            self.stats.refused += 1
            each = self.pace.seconds(1, 1) if not self.stats.items else self.stats.seconds / self.stats.items
            raise Full(
                f"{self.waiting} items are waiting for this model",
                retry_after=each * self.waiting / self.streams.count,
            )

    def _enqueue(
        self, request: _Request, examples: Sequence[Waiting], caller: Hashable, *, bulk: bool, here: bool
    ) -> None:
        """Line up by turns. The items of one request are spread: others of the same caller come between."""
        now = time.monotonic()
        begins, others = self._turns.get(caller, (0.0, 0))
        begins = max(begins, self._clock)
        spread = others + 1
        self._turns[caller] = begins + 1, others + 1
        here = here and now < request.deadline and self._cheap(max(example.length for example in examples))
        items = [_Item(request, index, example, begins + index * spread, now) for index, example in enumerate(examples)]
        for item in items:
            item.here = here
        gap = (now - self._came) / len(items)
        self._gap, self._came = gap if self._gap == math.inf else 0.8 * self._gap + 0.2 * gap, now
        with self.streams.ready:
            lane = self._lanes[bulk]
            in_order = not lane or lane[-1].turn <= items[0].turn
            lane.extend(items)
            if not in_order:
                lane.sort(key=_turn)
            if not here:
                self.streams.ready.notify(len(items))
            elif not self._due:
                self._due = True  # all that came in this turn of the loop lines up first
                asyncio.get_running_loop().call_soon(self._here)

    def _cheap(self, longest: int) -> bool:
        """Whether an item in company costs less than handing it over does."""
        pace = self.pace
        each = pace.item + pace.padded * longest
        alone = (pace.saved(longest) + each) * self._drag
        share = CHEAP * self.streams.hand_over / self.streams.count
        return pace.measured and each < share and self.streams.quick(alone)

    def _here(self) -> None:
        """Answer a batch of what waits where the event loop is, then the next."""
        self._due = False
        now = time.monotonic()
        with self.streams.ready:
            batch = self._company(now, idle=0, once=0.0)
            while len(batch) > 1 and not self.streams.quick(self._seconds(batch) * self._drag):
                batch = batch[: len(batch) // 2]
            if not all(item.here for item in batch):
                self.streams.ready.notify(self.waiting)
                return
            if not batch:
                return
            self._begun(batch, now)  # no time of a stream: `used` stays
        began = time.perf_counter()
        try:
            outputs = self.model.answer([item.example for item in batch], batch[0].request.params)
            answered = list(zip(batch, outputs, strict=True))
        except Exception:  # a stream tells whose fault it is, or makes room: here, all would stand still meanwhile
            with self.streams.ready:
                self._running -= 1
                for item in batch:
                    item.here = False
                self._lanes[0][:0] = batch
                self.streams.ready.notify()
            return
        self.stats.inline += 1
        self._deliver(answered, time.perf_counter() - began)
        if self.waiting and not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._here)

    def _expire(self, request: _Request) -> None:
        if not request.future.done():
            self.stats.late += 1
            self._stale = True
            request.future.set_exception(late())

    # what streams ask, under `streams.ready`

    def depth(self, *, bulk: bool) -> int:
        interactive, others = self._lanes
        if bulk:
            return len(others)
        aged = bool(others) and time.monotonic() - others[0].came > AGED
        return len(interactive) + aged

    def take(self, *, idle: int) -> tuple[Callable[[], None], float] | float:
        """The next batch, or how long to wait for company."""
        now = time.monotonic()
        batch = self._company(now, idle=idle, once=self.streams.hand_over)
        if not batch:
            return 0.0
        if (pause := self._pause(batch[0], len(batch) - 1, now, idle)) > 0:
            return pause
        return (lambda: self._run(batch)), self._begun(batch, now)

    def _company(self, now: float, *, idle: int, once: float) -> list[_Item]:
        """The item whose turn it is, and those that go well with it, from both lanes; empty where nothing waits.
        `once`: what handing a batch over costs."""
        if self._stale:
            self._stale = False
            for lane in self._lanes:
                lane[:] = [item for item in lane if not item.request.future.done()]
        first = self._first(now)
        if first is None:
            return []
        key = first.request.key
        near = [item for lane in self._lanes for item in lane[:SEEN] if item.request.key == key and item is not first]
        lengths = [item.example.length for item in near]
        chosen = self.pace.chosen(first.example.length, lengths, most_steps=self.most_steps, once=once)
        chosen = chosen[: max(1, math.ceil(self.waiting / (1 + idle))) - 1]  # streams that idle get their share
        return [first, *(near[index] for index in chosen)]

    def _begun(self, batch: list[_Item], now: float) -> float:
        """Take a batch out of the lanes; returns the seconds that it may take."""
        taken = set(map(id, batch))
        for lane in self._lanes:
            lane[:] = [item for item in lane if id(item) not in taken]
        self._clock = max(self._clock, batch[0].turn)
        self._running += 1
        self.stats.waited += sum(now - item.came for item in batch)
        return self._seconds(batch)

    def _seconds(self, batch: list[_Item]) -> float:
        return self.pace.seconds(len(batch), max(item.example.length for item in batch))

    def _first(self, now: float) -> _Item | None:
        interactive, others = self._lanes
        if others and (not interactive or now - others[0].came > AGED):
            return others[0]
        return interactive[0] if interactive else None

    def _pause(self, first: _Item, others: int, now: float, idle: int) -> float:
        """Seconds worth waiting: where streams are short, and another item is due before its company has paid."""
        saved = self.pace.saved(first.example.length)
        waited = now - first.came
        if idle or others or waited >= saved or self._gap >= saved:
            return 0.0
        return saved - waited

    # what streams do

    def _run(self, batch: list[_Item]) -> None:
        began = time.perf_counter()
        answered = self._answered(batch)
        spent = time.perf_counter() - began
        batch[0].request.future.get_loop().call_soon_threadsafe(self._deliver, answered, spent)

    def _answered(self, batch: list[_Item]) -> list[tuple[_Item, Any]]:
        """Each item with its output, or its error: what is wrong with one is no fault of its company."""
        try:
            outputs = self.model.answer([item.example for item in batch], batch[0].request.params)
            return list(zip(batch, outputs, strict=True))
        except MemoryError:
            return self._in_halves(batch)
        except Exception as error:
            if len(batch) == 1:
                return [(batch[0], error)]
            return [each for item in batch for each in self._answered([item])]

    def _in_halves(self, batch: list[_Item]) -> list[tuple[_Item, Any]]:
        """The same of what the memory does not hold, when others have made room; in halves, where it can be parted."""
        self.stats.out_of_memory += 1
        self.relieve()
        if len(batch) > 1:
            middle = len(batch) // 2
            return [*self._answered(batch[:middle]), *self._answered(batch[middle:])]
        try:
            return list(zip(batch, self.model.answer([batch[0].example], batch[0].request.params), strict=True))
        except MemoryError:
            error = Full(f"the memory does not hold an input of {batch[0].example.length} steps now", retry_after=10.0)
            return [(batch[0], error)]
        except Exception as error:
            return [(batch[0], error)]

    def _deliver(self, answered: list[tuple[_Item, Any]], spent: float) -> None:
        self._running -= 1
        self._counted([item.example.length for item, _ in answered], spent)
        for item, output in answered:
            request = item.request
            if request.future.done():
                continue
            if isinstance(output, Exception):
                request.future.set_exception(output)
                continue
            request.outputs[item.index] = output
            request.left -= 1
            if not request.left:
                request.future.set_result(None)

    def _counted(self, lengths: Sequence[int], seconds: float) -> None:
        stats, count, longest = self.stats, len(lengths), max(lengths)
        stats.batches += 1
        stats.items += count
        stats.largest = max(stats.largest, count)
        stats.seconds += seconds
        stats.steps += sum(lengths)
        stats.padded += count * longest
        self._drag += 0.5 * (seconds / self.pace.seconds(count, longest) - self._drag)
        stats.sizes[next(i for i, most in enumerate(SIZES) if count <= most or most == SIZES[-1])] += 1

    async def drain(self) -> None:
        """Wait until everything that was submitted is answered."""
        while self.busy:
            await asyncio.sleep(0.005)

    def close(self) -> None:
        """Take no more part in the streams."""
        self.streams.remove(self)


def _turn(item: _Item) -> float:
    return item.turn
