"""What is answered where it came: never what is long, nor again what failed there, and at no model's expense."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from app.errors import Late
from app.serving.batcher import Batcher
from app.serving.pace import Pace
from app.serving.streams import Streams
from tests.app.serving.echo import ALONE, Asked, Desk, Echo, order, run

STEPPED = Pace(fixed=1e-5, step=0.0, item=1e-8, padded=1e-7)
"""Of a model where an item of 4 steps is cheap, and one of 1,000,000 takes a tenth of a second."""
LONG = 1_000_000


def test_what_is_long_waits_for_a_stream_though_what_is_cheap_comes_behind_it() -> None:
    async def work(desk: Desk) -> None:
        desk.model.gate.set()
        asked = await asyncio.gather(desk.ask("long", length=LONG), desk.ask("a"), desk.ask("b"))
        assert [*asked] == [["long/p"], ["a/p"], ["b/p"]]

    model = run(work, pace=STEPPED)
    long = model.seen.index(["long"])
    assert model.threads[long] == "stream-0", "the event loop stood still for it"


def test_what_failed_here_is_a_streams_and_others_are_not_drawn_into_it() -> None:
    async def work(desk: Desk) -> None:
        busy = Desk(desk.model, Batcher(desk.model, desk.batcher.streams, pace=ALONE))
        blocked = busy.ask("blocks")
        await desk.begun(1)
        free = Failing()
        desk.batcher.model = free
        bad = [desk.ask("bad"), desk.ask("good")]
        for _ in range(5):
            bad.append(desk.ask("later"))
            await asyncio.sleep(0.002)
        here.extend(free.threads)
        desk.model.gate.set()
        answers = await asyncio.gather(blocked, *bad, return_exceptions=True)
        assert [isinstance(answer, ValueError) for answer in answers] == [False, True, *[False] * 6]

    here: list[str] = []
    run(work, pace=STEPPED)
    assert here == [threading.main_thread().name], "tried once where it came"


def test_what_is_late_already_is_late_though_it_is_cheap() -> None:
    async def work(desk: Desk) -> None:
        other = Desk(desk.model, Batcher(desk.model, desk.batcher.streams, pace=ALONE))
        blocked = other.ask("blocks")
        await desk.begun(1)
        desk.batcher.model = Failing()
        late, good = desk.send([Asked("late")], deadline=time.monotonic()), desk.ask("good")
        with pytest.raises(Late):
            await late
        desk.model.gate.set()
        assert await asyncio.gather(blocked, good) == [["blocks/p"], ["good/p"]]

    run(work, pace=STEPPED)


def test_what_was_answered_here_is_not_set_against_a_model_where_it_asks_a_stream() -> None:
    async def main() -> list[str]:
        streams, model = Streams(1), Echo()
        await streams.start()
        streams.hand_over = 1e-3  # however fast this machine is
        cheap = Desk(model, Batcher(model, streams, pace=replace(STEPPED, fixed=5e-4)))
        other = Desk(model, Batcher(model, streams, pace=ALONE))
        try:
            model.gate.set()
            for _ in range(40):
                await asyncio.gather(cheap.ask("a"), cheap.ask("b"))
            assert cheap.batcher.stats.inline > 10
            model.gate.clear()
            model.seen.clear()
            tasks = [other.ask("first")]
            await other.begun(1)
            tasks += [other.ask(f"other{index}") for index in range(6)]
            tasks.append(cheap.ask("long", length=LONG))
            return await order(model, tasks)
        finally:
            model.gate.set()
            streams.close()

    seen = asyncio.run(main())
    assert seen.index("long") <= 2, seen


class Failing:
    """Answers, but not with a bad one."""

    def __init__(self) -> None:
        self.threads: list[str] = []

    def answer(self, examples: Sequence[Asked], params: str) -> list[str]:
        self.threads.append(threading.current_thread().name)
        if any(example.name == "bad" for example in examples):
            raise ValueError("bad")
        return [f"{example.name}/{params}" for example in examples]
