"""The batcher where memory is short: room is made, batches are parted, and what does not fit alone is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from app.errors import Full
from app.serving.batcher import Batcher
from app.serving.pace import Pace
from app.serving.streams import Streams
from tests.app.serving.echo import Asked, Desk, Echo

COMPANY = Pace(fixed=1.0, step=0.0, item=1e-6, padded=1e-6, measured=False)
"""Of a model where company saves all."""
QUICK = Pace(fixed=1e-6, step=0.0, item=1e-6, padded=0.0)
"""Of a model that answers where the request is."""


@dataclass
class Cramped(Echo):
    """Holds so many steps, and more once it is relieved."""

    steps: int = 0
    gained: int = 0
    relieved: int = 0
    asked: list[int] = field(default_factory=list)

    def answer(self, examples: Sequence[Asked], params: str) -> list[str]:
        steps = sum(example.length for example in examples)
        self.asked.append(steps)
        if steps > self.steps:
            raise MemoryError
        return super().answer(examples, params)

    def relieve(self) -> None:
        self.relieved += 1
        self.steps += self.gained


def asked(model: Cramped, lengths: Sequence[int], *, pace: Pace = COMPANY, most_steps: int | None = None) -> list[str]:
    """What one request of examples of such lengths is answered."""

    async def main() -> list[str]:
        streams = Streams(1)
        await streams.start()
        model.gate.set()
        try:
            batcher = Batcher(model, streams, pace=pace, most_steps=most_steps, relieve=model.relieve)
            return await Desk(model, batcher).send([Asked(str(index), length) for index, length in enumerate(lengths)])
        finally:
            streams.close()

    return asyncio.run(main())


def test_a_batch_that_the_memory_does_not_hold_is_parted() -> None:
    model = Cramped(steps=8)
    assert asked(model, [4] * 8) == [f"{index}/p" for index in range(8)]
    assert model.asked == [32, 16, 8, 8, 16, 8, 8]
    assert model.relieved == 3


def test_what_was_relieved_is_tried_again() -> None:
    model = Cramped(steps=2, gained=2)
    assert asked(model, [4]) == ["0/p"]
    assert model.asked == [4, 4]


def test_an_item_that_does_not_fit_alone_is_told_after_a_second_try() -> None:
    model = Cramped(steps=2)
    with pytest.raises(Full, match="the memory does not hold an input of 4 steps now"):
        asked(model, [4])
    assert (model.asked, model.relieved) == ([4, 4], 1)


def test_what_fails_where_the_request_is_goes_to_a_stream() -> None:
    model = Cramped(steps=2, gained=2)
    assert asked(model, [4], pace=QUICK) == ["0/p"]
    assert model.asked == [4, 4, 4], "at once, in a stream, and when there was room"


def test_batches_keep_to_the_steps_that_were_measured_to_fit() -> None:
    model = Cramped(steps=100)
    asked(model, [4] * 6, most_steps=9)
    assert model.asked == [8, 8, 8]
    model = Cramped(steps=100)
    asked(model, [4] * 6 + [40], pace=QUICK, most_steps=9)
    assert sorted(model.asked) == [8, 8, 8, 40], "one that is longer goes alone"
    assert model.relieved == 0
