"""A series value by value: after each, the forecast of the whole series so far. NumPy only.

The network reads windows, each scaled and levelled by its own past, so it is run anew for each value; what a series
leaves behind is the past that the next window may look at.

n values kept, K of them at most.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.batch import Example, batches
from models.runtimes.run import Run
from models.stream import STRETCH, Answer, Memory, Sent, Stream
from models.task import Fault
from models.tasks.forecasting import calendar
from models.tasks.forecasting.codec import CODEC
from models.tasks.forecasting.prepare import CYCLES
from models.tasks.forecasting.schema import ForecastingConfig, ForecastingParams, Output, State


class ForecastingStream(Stream[State, ForecastingParams, ForecastingConfig]):
    """Kept are the last values up to the last one known, `values` (n,) with NaN where missing; how many were missing
    since, `gap`; and how many came in all, `count`."""

    def check(self, params: ForecastingParams, state: State) -> None:
        CODEC.check(params, state)

    def example(self, sent: Sent, state: State, config: ForecastingConfig) -> Example:
        season = state.season or calendar.season(sent.item.freq)
        most = max(state.look_back, CYCLES * season)
        before = _kept(sent.memory, most, season)
        count = int(sent.memory.get("count", 0))
        past = np.concatenate([before, [np.nan if step.value is None else step.value for step in sent.steps]])
        windows: list[Example | None] = []
        for index in range(len(sent.steps)):
            seen = past[: len(before) + index + 1]
            try:
                windows.append(CODEC.read(seen, sent.item, sent.params, state, count=count + index + 1))
            except Fault as fault:
                raise Fault(fault.detail, at=(index,)) from None
        length = sum(window.length for window in windows if window is not None)
        left = _left(past, most, count + len(sent.steps))
        return Example(arrays={}, length=max(1, length), context=(windows, left))

    def advance(self, run: Run, examples: Sequence[Example], params: ForecastingParams, state: State) -> list[Answer]:
        windows = [window for example in examples for window in example.context[0] if window is not None]
        told: dict[int, Output] = {}
        for chosen in batches([window.length for window in windows], steps=STRETCH):
            outputs = CODEC.predict(run, CODEC.collate([windows[index] for index in chosen]), params, state)
            told.update(zip(chosen, outputs, strict=True))
        found = iter(told[index] for index in range(len(windows)))
        return [
            ([None if window is None else next(found) for window in read], left)
            for read, left in (example.context for example in examples)
        ]


def _kept(memory: Memory, most: int, season: int) -> np.ndarray:
    """The past as far as windows look. A gap longer than they look is told by its place in the season alone."""
    if not memory:
        return np.zeros(0)
    gap = int(memory["gap"])
    return np.concatenate([memory["values"], np.full(gap if gap <= most else most + (gap - most) % season, np.nan)])


def _left(past: np.ndarray, most: int, count: int) -> Memory:
    known = np.flatnonzero(~np.isnan(past))
    end = int(known[-1]) + 1 if len(known) else 0
    return {
        "values": past[max(0, end - most) : end],
        "gap": np.array(len(past) - end, dtype=np.int64),
        "count": np.array(count, dtype=np.int64),
    }


STREAM = ForecastingStream()
