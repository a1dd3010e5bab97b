"""Streams: what is alone and quick runs where it is asked, several at once, fair among models."""

from __future__ import annotations

import asyncio
import threading

from app.serving.batcher import Batcher
from app.serving.pace import Pace
from app.serving.streams import Streams
from tests.app.serving.echo import ALONE, Desk, Echo, order, run

TINY = Pace(fixed=1e-4, step=1e-8, item=1e-8, padded=1e-8)


def test_a_quick_request_that_is_alone_runs_where_it_is_asked() -> None:
    async def work(desk: Desk) -> None:
        desk.model.gate.set()
        assert await desk.ask("a") == ["a/p"]
        assert await desk.ask("b", "c") == ["b/p", "c/p"]
        for _ in range(30):
            await desk.ask("d")
        assert desk.batcher.stats.inline > 8  # not all: where the machine was slow for a moment, some are handed over

    model = run(work, pace=TINY)
    assert model.threads[0] == threading.main_thread().name
    assert model.threads.count(threading.main_thread().name) > 8


def test_requests_of_one_moment_go_together() -> None:
    async def work(desk: Desk) -> None:
        desk.model.gate.set()
        asked = await asyncio.gather(*(desk.ask(name) for name in "abcd"))
        assert asked == [[f"{name}/p"] for name in "abcd"]
        counted.append((desk.batcher.stats.inline, desk.batcher.stats.batches))

    counted: list[tuple[int, int]] = []
    assert run(work, pace=TINY).threads == [threading.main_thread().name], "cheaper than handing over: where they came"
    dear = Pace(**{**vars(TINY), "item": 0.01})
    assert all(name.startswith("stream") for name in run(work, pace=dear).threads)
    assert counted[0] == (1, 1)
    assert counted[1][0] == 0


def test_a_fault_of_one_in_company_is_no_fault_of_the_others() -> None:
    async def work(desk: Desk) -> None:
        desk.model.gate.set()
        asked = await asyncio.gather(*(desk.ask(name) for name in ("a", "bad", "c")), return_exceptions=True)
        assert [asked[0], asked[2]] == [["a/p"], ["c/p"]]
        assert isinstance(asked[1], ValueError)
        assert not desk.batcher.busy

    assert run(work, pace=TINY).threads[0] == threading.main_thread().name


def test_what_was_not_measured_or_is_slow_never_stops_the_event_loop() -> None:
    async def work(desk: Desk) -> None:
        desk.model.gate.set()
        await desk.ask("a")

    for pace in (Pace(**{**vars(TINY), "measured": False}), Pace(**{**vars(TINY), "fixed": 1.0})):
        assert run(work, pace=pace).threads == ["stream-0"]


def test_a_model_that_takes_longer_than_was_measured_is_handed_over() -> None:
    async def work(desk: Desk) -> None:
        desk.model.gate.set()
        desk.model.seconds = 0.05
        await desk.ask("a")
        await desk.ask("b")

    assert run(work, pace=TINY).threads[1] == "stream-0"


def test_a_fault_where_it_is_asked_is_the_callers() -> None:
    async def work(desk: Desk) -> None:
        desk.model.gate.set()
        answers = await asyncio.gather(desk.ask("bad"), return_exceptions=True)
        assert isinstance(answers[0], ValueError)
        assert await desk.ask("good") == ["good/p"]

    run(work, pace=TINY)


def test_streams_run_at_once() -> None:
    async def work(desk: Desk) -> None:
        tasks = [desk.ask("a", params="p"), desk.ask("b", params="q")]
        await desk.begun(2)
        desk.model.gate.set()
        assert [await task for task in tasks] == [["a/p"], ["b/q"]]

    assert set(run(work, streams=2).threads) == {"stream-0", "stream-1"}


def test_models_share_the_streams_by_the_time_they_used() -> None:
    async def main() -> list[str]:
        streams, model = Streams(1), Echo()
        await streams.start()
        slow = Pace(**{**vars(ALONE), "item": 10 * ALONE.item})
        busy, other = (Desk(model, Batcher(model, streams, pace=pace)) for pace in (slow, ALONE))
        try:
            tasks = [busy.ask("first")]
            await busy.begun(1)
            tasks += [busy.ask(f"busy{index}") for index in range(4)]
            tasks += [other.ask(f"other{index}") for index in range(4)]
            return await order(model, tasks)
        finally:
            model.gate.set()
            streams.close()

    seen = asyncio.run(main())
    assert seen.index("other3") < seen.index("busy2"), seen


def test_a_batcher_that_is_closed_is_served_no_more() -> None:
    async def main() -> None:
        streams, model = Streams(1), Echo()
        await streams.start()
        batcher = Batcher(model, streams)
        assert streams.queues == [batcher]
        batcher.close()
        assert streams.queues == []
        streams.close()

    asyncio.run(main())
