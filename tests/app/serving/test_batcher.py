"""The batcher: bounded, in order, alone or in company the same; callers who left or are late cost nothing."""

from __future__ import annotations

import asyncio
import time

import pytest

from app.errors import Full, Late
from app.serving.pace import Pace
from tests.app.serving.echo import ALONE, Asked, Desk, run


def test_answers_come_in_the_order_asked_whatever_company_they_had() -> None:
    async def work(desk: Desk) -> None:
        first = desk.ask("a")
        await desk.begun(1)
        others = [desk.ask("b", "c"), desk.ask("d", params="q"), desk.ask("e")]
        await desk.open()
        assert await first == ["a/p"]
        assert [await task for task in others] == [["b/p", "c/p"], ["d/q"], ["e/p"]]

    seen = run(work).seen
    assert sorted(map(sorted, seen)) == [["a"], ["b", "c", "e"], ["d"]], "equal params share a batch, others do not"


def test_near_lengths_share_a_batch() -> None:
    async def work(desk: Desk) -> None:
        tasks = [desk.ask("first")]
        await desk.begun(1)
        tasks += [desk.ask("short", length=4), desk.ask("long", length=200), desk.ask("near", length=5)]
        await desk.open()
        await asyncio.gather(*tasks)

    assert run(work).seen == [["first"], ["short", "near"], ["long"]]


def test_a_large_request_is_split_by_length_and_joined_in_order() -> None:
    async def work(desk: Desk) -> None:
        examples = [Asked(str(index), 4 if index % 2 else 300) for index in range(8)]
        task = desk.send(examples)
        await desk.open()
        assert await task == [f"{index}/p" for index in range(8)]
        assert desk.batcher.stats.requests == 1
        assert desk.batcher.stats.items == 8

    seen = run(work).seen
    assert len(seen) > 1
    for batch in seen:
        assert len({int(name) % 2 for name in batch}) == 1, "the short ones are not padded to the long ones"


def test_streams_that_idle_share_a_large_request() -> None:
    async def work(desk: Desk) -> None:
        while desk.batcher.streams.idle < 2:
            await asyncio.sleep(0.001)
        task = desk.ask(*"abcdef")
        await desk.begun(2)  # both streams hold a part of it before either is done
        await desk.open()
        assert await task == [f"{name}/p" for name in "abcdef"]

    assert sorted(map(len, run(work, streams=2).seen)) == [3, 3]


def test_batches_stay_within_the_budget_of_padded_steps() -> None:
    pace = Pace(fixed=0.0, step=1e-4, item=0.0, padded=1e-4, measured=False)
    handed: list[float] = []

    async def work(desk: Desk) -> None:
        handed.append(desk.batcher.streams.hand_over)
        task = desk.ask(*map(str, range(100)), length=10)
        await desk.open()
        await task

    seen = run(work, pace=pace, capacity=1000).seen
    most = pace.budget(10, once=handed[0])
    assert 10 < most < 1000
    assert max(len(batch) for batch in seen) == most // 10
    assert sum(len(batch) for batch in seen) == 100


def test_while_all_streams_are_busy_and_more_comes_a_stream_waits_for_company() -> None:
    pace = Pace(fixed=0.5, step=0.0, item=0.0, padded=1e-6, measured=False)  # much is saved by going together

    async def work(desk: Desk) -> None:
        await desk.open()
        tasks = []
        for name in "abc":
            tasks.append(desk.ask(name))
            await asyncio.sleep(0.02)
        await asyncio.gather(*tasks)

    assert run(work, pace=pace).seen == [["a"], ["b", "c"]], "the first was not kept waiting, the second was"


def test_turns_are_fair_among_callers() -> None:
    async def work(desk: Desk) -> None:
        tasks = [desk.ask("first")]
        await desk.begun(1)
        tasks += [desk.ask(f"much{index}", caller="a") for index in range(6)]
        tasks += [desk.ask("little", caller="b")]
        await desk.open()
        await asyncio.gather(*tasks)

    seen = [name for batch in run(work, pace=ALONE).seen for name in batch]
    assert seen.index("little") <= 2, seen


def test_a_large_request_does_not_keep_the_small_ones_of_its_caller_waiting() -> None:
    async def work(desk: Desk) -> None:
        tasks = [desk.ask(*[f"large{index}" for index in range(6)])]
        await desk.begun(1)
        tasks.append(desk.ask("small"))
        await desk.open()
        await asyncio.gather(*tasks)

    seen = [name for batch in run(work, pace=ALONE).seen for name in batch]
    assert seen.index("small") <= 3, seen


def test_what_is_urgent_goes_before_what_is_bulk_until_that_has_waited_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(desk: Desk) -> None:
        tasks = [desk.ask("first")]
        await desk.begun(1)
        tasks += [desk.ask("bulk", bulk=True), desk.ask("urgent"), desk.ask("urgent too")]
        await desk.open()
        await asyncio.gather(*tasks)

    assert run(work, pace=ALONE).seen == [["first"], ["urgent"], ["urgent too"], ["bulk"]]
    monkeypatch.setattr("app.serving.batcher.AGED", 0.0)
    assert run(work, pace=ALONE).seen[1] == ["bulk"]


def test_bulk_fills_the_batches_of_what_is_urgent() -> None:
    async def work(desk: Desk) -> None:
        tasks = [desk.ask("first")]
        await desk.begun(1)
        tasks += [desk.ask("bulk", bulk=True), desk.ask("urgent")]
        await desk.open()
        await asyncio.gather(*tasks)

    assert run(work).seen == [["first"], ["urgent", "bulk"]]


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    async def work(desk: Desk) -> None:
        tasks = [desk.ask("running")]
        await desk.begun(1)
        tasks.append(desk.ask(*"abcdefgh"))
        await asyncio.sleep(0)
        with pytest.raises(Full) as refused:
            await desk.ask("one too many")
        assert refused.value.retry_after > 0
        assert desk.batcher.stats.refused == 1
        await desk.open()
        await asyncio.gather(*tasks)

    run(work, capacity=8)


def test_a_deadline_that_passed_in_the_queue_is_late_and_never_run() -> None:
    async def work(desk: Desk) -> None:
        running = desk.ask("running")
        await desk.begun(1)
        with pytest.raises(Late):
            await desk.ask("late", deadline=time.monotonic() + 0.01)
        await desk.open()
        await running
        assert desk.batcher.stats.late == 1

    assert run(work).seen == [["running"]]


def test_a_deadline_does_not_wait_for_the_forward() -> None:
    async def work(desk: Desk) -> None:
        began = time.monotonic()
        with pytest.raises(Late):
            await desk.ask("slow", deadline=began + 0.05)
        assert time.monotonic() - began < 2

    run(work)


def test_a_caller_who_left_is_dropped() -> None:
    async def work(desk: Desk) -> None:
        running = desk.ask("running")
        await desk.begun(1)
        left = desk.ask("left")
        await asyncio.sleep(0.01)
        left.cancel()
        await asyncio.sleep(0)
        await desk.open()
        await running
        await desk.batcher.drain()
        assert desk.batcher.stats.left == 1

    assert run(work).seen == [["running"]]


def test_a_fault_of_one_batch_does_not_end_the_next() -> None:
    async def work(desk: Desk) -> None:
        await desk.open()
        with pytest.raises(ValueError, match="bad"):
            await desk.ask("bad")
        assert await desk.ask("good") == ["good/p"]

    run(work)


def test_what_is_wrong_with_one_is_no_fault_of_its_company() -> None:
    async def work(desk: Desk) -> None:
        running = desk.ask("running")
        await desk.begun(1)
        bad, good = desk.ask("bad"), desk.ask("good")
        await desk.open()
        assert [await running, await good] == [["running/p"], ["good/p"]]
        with pytest.raises(ValueError, match="bad"):
            await bad

    assert run(work).seen[1] == ["bad", "good"]


def test_what_was_done_is_counted() -> None:
    async def work(desk: Desk) -> None:
        await desk.open()
        await desk.send([Asked("a", 4), Asked("b", 6)])
        stats = desk.batcher.stats
        assert (stats.requests, stats.items, stats.batches, stats.largest) == (1, 2, 1, 2)
        assert (stats.steps, stats.padded) == (10, 12)
        assert stats.waste == pytest.approx(1 / 6)
        assert stats.sizes[:3] == [0, 1, 0]
        assert stats.waited > 0
        both = stats + stats
        assert (both.items, both.largest, both.sizes[1]) == (4, 2, 2)

    run(work)
