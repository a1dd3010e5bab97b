"""The batcher: bounded, in order, alone or in company the same; callers who left or are late cost nothing."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from app.errors import Full, Late
from app.serving.batcher import Batcher


@dataclass(frozen=True)
class Asked:
    name: str
    length: int = 4


@dataclass
class Echo:
    """Answers with the name and the params, and holds still while `gate` is closed."""

    gate: threading.Event = field(default_factory=threading.Event)
    seen: list[list[str]] = field(default_factory=list)

    def answer(self, examples: Sequence[Asked], params: str) -> list[str]:
        assert self.gate.wait(10)
        self.seen.append([example.name for example in examples])
        if any(example.name == "bad" for example in examples):
            raise ValueError("bad")
        return [f"{example.name}/{params}" for example in examples]


def soon() -> float:
    return time.monotonic() + 10


def run(work) -> Echo:
    """Run a coroutine over a batcher of one stream whose gate is closed at first."""
    model = Echo()
    with ThreadPoolExecutor(1) as pool:

        async def main() -> None:
            await work(model, Batcher(model, pool, streams=1, capacity=8))

        asyncio.run(main())
    return model


def submit(batcher: Batcher, *names: str, params: str = "p", deadline: float | None = None, length: int = 4):
    examples = [Asked(name, length) for name in names]
    return asyncio.create_task(batcher.submit(examples, params, key=params, deadline=deadline or soon()))


def test_answers_come_in_the_order_asked_whatever_company_they_had() -> None:
    async def work(model: Echo, batcher: Batcher) -> None:
        first = submit(batcher, "a")
        await asyncio.sleep(0.05)
        others = [submit(batcher, "b", "c"), submit(batcher, "d", params="q"), submit(batcher, "e")]
        await asyncio.sleep(0.05)
        model.gate.set()
        assert await first == ["a/p"]
        assert [await task for task in others] == [["b/p", "c/p"], ["d/q"], ["e/p"]]

    assert run(work).seen == [["a"], ["b", "c", "e"], ["d"]], "equal params share a batch, others do not"


def test_near_lengths_share_a_batch() -> None:
    async def work(model: Echo, batcher: Batcher) -> None:
        tasks = [submit(batcher, "first")]
        await asyncio.sleep(0.05)
        tasks += [
            submit(batcher, "short", length=4),
            submit(batcher, "long", length=50),
            submit(batcher, "near", length=5),
        ]
        await asyncio.sleep(0.05)
        model.gate.set()
        await asyncio.gather(*tasks)

    assert run(work).seen == [["first"], ["short", "near"], ["long"]]


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    async def work(model: Echo, batcher: Batcher) -> None:
        tasks = [submit(batcher, "running")]
        await asyncio.sleep(0.05)
        tasks.append(submit(batcher, *"abcdefgh"))
        await asyncio.sleep(0.05)
        with pytest.raises(Full) as refused:
            await submit(batcher, "one too many")
        assert refused.value.retry_after > 0
        model.gate.set()
        await asyncio.gather(*tasks)

    run(work)


def test_a_deadline_that_passed_in_the_queue_is_late_and_never_run() -> None:
    async def work(model: Echo, batcher: Batcher) -> None:
        running = submit(batcher, "running")
        await asyncio.sleep(0.05)
        late = submit(batcher, "late", deadline=time.monotonic() + 0.01)
        await asyncio.sleep(0.1)
        model.gate.set()
        with pytest.raises(Late):
            await late
        await running

    assert run(work).seen == [["running"]]


def test_a_caller_who_left_is_dropped() -> None:
    async def work(model: Echo, batcher: Batcher) -> None:
        running = submit(batcher, "running")
        await asyncio.sleep(0.05)
        left = submit(batcher, "left")
        await asyncio.sleep(0.05)
        left.cancel()
        await asyncio.sleep(0.05)
        model.gate.set()
        await running
        await batcher.drain()

    assert run(work).seen == [["running"]]


def test_a_fault_of_one_batch_does_not_end_the_next() -> None:
    async def work(model: Echo, batcher: Batcher) -> None:
        model.gate.set()
        with pytest.raises(ValueError, match="bad"):
            await submit(batcher, "bad")
        assert await submit(batcher, "good") == ["good/p"]

    run(work)


def test_what_is_wrong_with_one_is_no_fault_of_its_company() -> None:
    async def work(model: Echo, batcher: Batcher) -> None:
        running = submit(batcher, "running")
        await asyncio.sleep(0.05)
        bad, good = submit(batcher, "bad"), submit(batcher, "good")
        await asyncio.sleep(0.05)
        model.gate.set()
        assert [await running, await good] == [["running/p"], ["good/p"]]
        with pytest.raises(ValueError, match="bad"):
            await bad

    run(work)


def test_a_deadline_does_not_wait_for_the_forward() -> None:
    async def work(model: Echo, batcher: Batcher) -> None:
        began = time.monotonic()
        with pytest.raises(Late):
            await submit(batcher, "slow", deadline=began + 0.05)
        assert time.monotonic() - began < 2
        model.gate.set()
        await batcher.drain()

    run(work)
