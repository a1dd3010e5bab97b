"""Measures what answers cost by how many go together and how long they are. Knows the contract, no task, no queue."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.batch import Example
from models.predictor import Predictor
from models.task import Params

SIZES = (1, 2, 4, 8)
SHORT, LONG = 8, 32
"""Time steps that are measured, but for items that are long of themselves."""
TIMES = 3
SECONDS = 0.5
"""No measurement begins after so long; networks that are slow need no fine figures."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """Seconds that so many items of so many steps took together."""

    items: int
    steps: int
    seconds: float


def points(held: Predictor, *, seconds: float = SECONDS) -> list[Point]:
    """What was measured, at least one item alone; on the items that a version must answer anyway."""
    params = held.codec.card.params()
    longest = max(
        (held.prepare(item, params) for item in held.codec.probes(held.state)), key=lambda example: example.length
    )
    ends = time.perf_counter() + seconds
    found: list[Point] = []
    for example in _lengths(held, longest, params):
        for size in SIZES:
            if found and time.perf_counter() > ends:
                return found
            found.append(_timed(held, [example] * size, params, ends))
    return found


def _timed(held: Predictor, examples: Sequence[Example], params: Params, ends: float) -> Point:
    taken: list[float] = []
    while len(taken) <= TIMES:
        began = time.perf_counter()
        held.answer(examples, params)
        taken.append(time.perf_counter() - began)
        if time.perf_counter() > ends:
            break
    taken = taken[1:] or taken  # the first of a shape makes room in memory
    return Point(items=len(examples), steps=examples[0].length, seconds=statistics.median(taken))


def _lengths(held: Predictor, example: Example, params: Params) -> list[Example]:
    """A short and a long example like the one given; that one alone where its length cannot be changed."""
    short, long = (SHORT, LONG) if example.length <= LONG else (max(1, example.length // 4), example.length)
    try:
        made = [_stretched(example, steps) for steps in (short, long)]
        for each in made:
            held.answer([each], params)
    except Exception:  # whatever a codec says of an example that no item gives
        return [example]
    return made


def _stretched(example: Example, steps: int) -> Example:
    """An example with its steps repeated or cut."""
    arrays = {
        name: np.resize(array, (steps, *array.shape[1:])) if array.ndim and len(array) == example.length else array
        for name, array in example.arrays.items()
    }
    return replace(example, arrays=arrays, length=steps)
