"""What sounds when, and the same as notes in a row or as chords on a grid. Knows time, no file.

Time is counted in ticks of a 24th of a quarter note: thirty-second notes and triplets fall on whole ones.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

TICKS = 24
SLACK = 3
"""Ticks (a thirty-second note) by which a note played legato may last into the next one of a melody."""
GRIDS = (24, 12, 6)
"""Steps that chords may be read on, in ticks: quarter, eighth and sixteenth notes."""
ON_GRID = 0.95
"""Share of all onsets that a grid must hold to be fine enough."""
MOST_STEPS = 100_000


class Sound(NamedTuple):
    """A pitch from one tick up to another."""

    start: int
    end: int
    pitch: int


def trimmed(sounds: Iterable[Sound]) -> list[Sound]:
    """In order, from tick 0 on, without what has no length. Raises ValueError where nothing is left or no end."""
    found = sorted(sound for sound in sounds if sound.end > sound.start)
    if not found:
        raise ValueError("no note sounds in it")
    first = found[0].start
    if max(sound.end for sound in found) - first > MOST_STEPS * TICKS:
        raise ValueError(f"it lasts longer than {MOST_STEPS} quarter notes")
    return [Sound(sound.start - first, sound.end - first, sound.pitch) for sound in found]


def is_melody(sounds: Sequence[Sound]) -> bool:
    """Whether one pitch sounds at a time, but for slight overlaps."""
    return all(one.start < other.start and one.end <= other.start + SLACK for one, other in itertools.pairwise(sounds))


def onsets(sounds: Sequence[Sound]) -> Counter[int]:
    """How many onsets each grid holds."""
    return Counter({grid: sum(sound.start % grid == 0 for sound in sounds) for grid in GRIDS})


def grid(held: Counter[int], total: int) -> int:
    """The coarsest grid that holds nearly all of `total` onsets; the finest where none does."""
    return next((grid for grid in GRIDS if held[grid] >= ON_GRID * total), GRIDS[-1])


def melody(sounds: Sequence[Sound]) -> list[dict[str, Any]]:
    """Notes one after the other, with rests where nothing sounds."""
    notes: list[dict[str, Any]] = []
    for sound, following in zip(sounds, [*sounds[1:], None], strict=True):
        end = sound.end if following is None else min(sound.end, following.start)
        notes.append({"pitch": sound.pitch, "duration": (end - sound.start) / TICKS})
        if following is not None and following.start > end:
            notes.append({"pitch": None, "duration": (following.start - end) / TICKS})
    return notes


def chords(sounds: Sequence[Sound], step: int) -> list[list[int]]:
    """The pitches that sound at the beginning of each step of so many ticks."""
    count = -(-max(sound.end for sound in sounds) // step)
    if count > MOST_STEPS:
        raise ValueError(f"{count} steps are too many; at most {MOST_STEPS}")
    found: list[set[int]] = [set() for _ in range(count)]
    for sound in sounds:
        for index in range(-(-sound.start // step), -(-sound.end // step)):
            found[index].add(sound.pitch)
    return [sorted(keys) for keys in found]


def played(notes: Iterable[tuple[int | None, float]]) -> list[tuple[float, float, int]]:
    """Notes (pitch, duration) one after the other as (start, end, pitch), in quarter notes; rests pass silently."""
    time, found = 0.0, []
    for pitch, duration in notes:
        if pitch is not None:
            found.append((time, time + duration, pitch))
        time += duration
    return found


def held(steps: Sequence[Sequence[int]], step: float) -> list[tuple[float, float, int]]:
    """Chords as (start, end, pitch), in quarter notes. A pitch that sounds on is held, for a grid does not tell
    a held note from a repeated one."""
    sounding: dict[int, int] = {}
    found = []
    for index, keys in enumerate([*steps, ()]):
        over = sorted(sounding.keys() - set(keys))
        found += [(sounding.pop(pitch) * step, index * step, pitch) for pitch in over]
        for pitch in keys:
            sounding.setdefault(pitch, index)
    return found
