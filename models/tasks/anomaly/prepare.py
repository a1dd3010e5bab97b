"""Series as a network reads them: levelled, scaled, with what is missing and what time it is. NumPy only.

Everything known of step t comes from the steps before it, by sums that decay: a series that grows step by
step gives the numbers that it gives when it is sent whole.

T steps, F numbers of a step, I = 2 F + 5 inputs of a step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

LIMIT = 10.0
"""Where inputs are cut: so many spreads from the level."""
FIRST = 5
"""Steps that a series of its own scale must show before it can be judged."""
CLIP = 6.0
"""Spreads from the level beyond which a step moves its series' level and spread no further."""
FACTS = 5
BLOCK = 64


class Past:
    """What the steps of a series leave behind for those that follow, by name: sums that decay, counts, last steps.

    Empty where a series begins. A series that is read in parts, each with the `Past` of the one before, gives the
    numbers that it gives when it is read whole.
    """

    def __init__(self, held: Mapping[str, np.ndarray] | None = None) -> None:
        self.held = dict(held or {})

    def decayed(self, name: str, values: np.ndarray, half_life: float, *, start: float = 0.0) -> np.ndarray:
        """`decayed` values (T, ...), from where this sum stood."""
        found = decayed(values, half_life, start=self.held.get(name, start))
        if len(found):
            self.held[name] = found[-1]
        return found

    def led(self, name: str, steps: np.ndarray) -> np.ndarray:
        """(1 + T, ...) the last step of before, zeros where there was none, and these (T, ...)."""
        first = self.held.get(name, np.zeros(steps.shape[1:]))
        self.held[name] = steps[-1]
        return np.concatenate([first[None], steps])

    def before(self, name: str, values: np.ndarray, half_life: float) -> np.ndarray:
        """The same as it was before each step."""
        first = self.held.get(name, np.zeros(values.shape[1:]))
        return np.concatenate([first[None], self.decayed(name, values, half_life)[:-1]])

    def counted(self, name: str, there: np.ndarray) -> np.ndarray:
        """(T, ...) how often something was there, up to each step."""
        found: np.ndarray = self.held.get(name, 0) + np.cumsum(there, axis=0)
        if len(found):
            self.held[name] = found[-1]
        return found

    def joined(self, name: str, steps: np.ndarray, most: int) -> np.ndarray:
        """(R + T, ...) the last steps of before, `most` at most, and these (T, ...)."""
        found = np.concatenate([self.held[name], steps]) if name in self.held else steps
        self.held[name] = found[max(0, len(found) - most) :]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One prepared series."""

    values: np.ndarray
    """(T, F) as they came; NaN where missing."""
    location: np.ndarray
    """(T + 1, F) the level as known before each step, and after the last."""
    scale: np.ndarray
    """(T + 1, F) the mean distance from the level, likewise; above 0."""
    known: np.ndarray
    """(T, F) whether the level is known well enough for the step to be read and judged, and the value is there."""
    facts: np.ndarray
    """(T, 5) the time of the day and of the week on circles, 0 where it is unknown; and how young a series of its own
    scale is, from 1 down to 0: a scale that few steps have told is not to be trusted."""

    @property
    def firm(self) -> np.ndarray:
        """(T,) whether enough was seen by each step to forecast from it."""
        enough: np.ndarray = self.facts[:, -1] <= 1 / np.sqrt(FIRST)
        return enough

    def part(self, start: int, end: int) -> Series:
        """The steps from `start` to before `end`, scaled as they are in the whole."""
        return Series(
            values=self.values[start:end],
            location=self.location[start : end + 1],
            scale=self.scale[start : end + 1],
            known=self.known[start:end],
            facts=self.facts[start:end],
        )

    def restarted(self, start: int, end: int, *, memory: int | None) -> Series:
        """The steps from `start` to before `end` as if the series began there; `memory` is None where the scale is
        not its own."""
        part = self.part(start, end)
        return part if memory is None else _own(part.values, part.facts[:, :-1], memory, Past())

    def features(self) -> np.ndarray:
        """(T, I): each step by the level and spread known before it."""
        return inputs(self.values, self.location[:-1], self.scale[:-1], self.known, self.facts)


def inputs(
    values: np.ndarray, location: np.ndarray, scale: np.ndarray, known: np.ndarray, facts: np.ndarray
) -> np.ndarray:
    """(..., I): scaled values (0 where unknown), whether they are known, the facts."""
    scaled = np.where(known, scaled_by(values, location, scale), 0.0)
    return np.concatenate([scaled, known, facts], axis=-1).astype(np.float32)


def scaled_by(values: np.ndarray, location: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Values in spreads from the level, cut at the limit; NaN stays."""
    cut: np.ndarray = np.clip((values - location) / scale, -LIMIT, LIMIT)
    return cut


def prepare(
    values: np.ndarray,
    times: Sequence[datetime] | None,
    *,
    memory: int,
    location: Sequence[float] | None,
    scale: Sequence[float] | None,
    past: Past | None = None,
) -> Series:
    """A series (T, F); with a level and a spread of its own where none is given. `past`: of the steps before."""
    total, width = values.shape
    values, calendar = values.astype(np.float64), circles(times, total)
    if location is None or scale is None:
        return _own(values, calendar, memory, past or Past())
    return Series(
        values=values,
        location=np.broadcast_to(np.array(location, dtype=np.float64), (total + 1, width)),
        scale=np.broadcast_to(np.array(scale, dtype=np.float64), (total + 1, width)),
        known=~np.isnan(values),
        facts=np.concatenate([calendar, np.zeros((total, 1))], axis=1),
    )


def _own(values: np.ndarray, calendar: np.ndarray, memory: int, past: Past) -> Series:
    there = ~np.isnan(values)
    seen = past.held.get("seen", 0) + np.cumsum(there, axis=0)
    level, spread = running(values, half_life=memory, past=past)
    young = 1 / np.sqrt(np.maximum(1, seen.max(axis=1, keepdims=True)))
    facts = np.concatenate([calendar, young], axis=1)
    return Series(values=values, location=level, scale=spread, known=there & (seen > FIRST), facts=facts)


def running(values: np.ndarray, *, half_life: float, past: Past | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Level and spread (T + 1, F) of a series (T, F) as known before each step: decaying means of the values and of
    their distances from the level, plain means at first. What lies far outside moves them a little only."""
    past = past or Past()
    there = ~np.isnan(values)
    first = past.held["first"] = np.where(past.held.get("seen", 0), past.held.get("first", 0.0), _first(values, there))
    origin = np.where(there, values - first, 0.0)
    weight = np.maximum(past.decayed("weight", there.astype(np.float64), half_life), 1e-12)
    level, spread = _means(origin, there, weight, half_life, (past, "plain"))
    firm = past.counted("seen", there) > FIRST
    reach = np.where(firm, CLIP * spread[:-1], np.inf)
    cut = np.clip(origin, level[:-1] - reach, level[:-1] + reach)
    level, spread = _means(cut, there, weight, half_life, (past, "cut"))
    level = level + first
    return level, np.maximum(spread, least_spread(level))


def least_spread(level: np.ndarray) -> np.ndarray:
    """The spread of a series that never moved from a level."""
    least: np.ndarray = 1e-6 * np.abs(level) + 1e-9
    return least


def _means(
    values: np.ndarray, there: np.ndarray, weight: np.ndarray, half_life: float, held: tuple[Past, str]
) -> tuple[np.ndarray, np.ndarray]:
    """(T + 1, F) twice: the mean before each step, and the mean distance from it; `weight` (T, F) is how much of a
    mean is there by now."""
    past, name = held
    level = past.led(f"{name} level", past.decayed(f"{name} values", values * there, half_life) / weight)
    away = np.abs(values - level[:-1]) * there
    spread = past.led(f"{name} spread", past.decayed(f"{name} away", away, half_life) / weight)
    return level, spread


def _first(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """(F,) the first value of each feature; 0 where there is none."""
    at = np.argmax(there, axis=0)
    return np.where(there.any(axis=0), values[at, np.arange(values.shape[1])], 0.0)


def decayed(values: np.ndarray, half_life: float, *, start: np.ndarray | float = 0.0) -> np.ndarray:
    """y_t = k y_(t-1) + (1 - k) x_t along the first axis, k = 2^(-1 / half_life), from y = `start`.

    The last y is all that goes on to the steps that follow.
    """
    keep = 0.5 ** (1.0 / half_life)
    powers = (keep ** np.arange(1, BLOCK + 1)).reshape(-1, *[1] * (values.ndim - 1))
    found = np.empty_like(values)
    held = start
    for at in range(0, len(values), BLOCK):
        block = values[at : at + BLOCK]
        decay = powers[: len(block)]
        found[at : at + BLOCK] = decay * (held + (1 - keep) * np.cumsum(block / decay, axis=0))
        held = found[at + len(block) - 1]
    return found


def circles(times: Sequence[datetime] | None, total: int) -> np.ndarray:
    """(T, 4): the time of the day and of the week (UTC) as points on circles; 0 without times."""
    if times is None:
        return np.zeros((total, FACTS - 1))
    days = np.array([moment.timestamp() for moment in times]) / 86_400
    angles = 2 * np.pi * np.stack([days % 1.0, (days + 3) / 7 % 1.0], axis=1)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
