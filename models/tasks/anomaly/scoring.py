"""From surprises to scores, thresholds and alarms. NumPy only; knows no network.

A *surprise* says how far a step lies from what was expected, in half-widths of its interval; a *strain* the same by
all that was expected together. Both are taken relative to how young their series is. A *score* is -log10 of the share
of held-out steps that are as odd: 2 is one step in 100, 3 one in 1000. What counts is the odder of two: the step
itself, by its surprise, and the stretch of strains that ends with it (the short-term mean that Lavin and Ahmad 2015
hold against the long-term distribution). All of it comes from sums that decay, so it goes on step by step. T steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from models.tasks.anomaly.prepare import Past
from models.tasks.anomaly.schema import State, Tail

AGES = (1, 8, 16, 32, 64, 128, 256)
"""Steps since a series began where it is measured how much more surprising its steps still are."""
GROWN = AGES[-1]
LEVELS = 200
BEYOND = 0.002
ENOUGH = 20
"""The tail's fall is told by this share of the held-out steps, and never by fewer steps than this."""
THINNEST = 0.1
"""Least index of a tail: however evenly the held-out steps ran, a little more is not a wonder."""
HIGH = 0.95
FEWEST = 20
"""Held-out steps that tell anything about a tail."""
WILD = 15.0
"""Up to which a strain counts in its stretch, and a surprise among those of young series."""
WORST = 1e6
"""Where surprises are cut."""


def fitted(numbers: np.ndarray) -> Tail:
    """The tail of some numbers from 0 up."""
    if len(numbers) < FEWEST:
        return Tail()
    share = 1 - min(0.5, max(BEYOND, ENOUGH / len(numbers)))
    quantiles = np.quantile(numbers, _shares(share, LEVELS))
    last = max(float(quantiles[-1]), 1e-6)
    beyond = numbers[numbers > last]
    index = float(np.mean(np.log(beyond / last))) if len(beyond) else 0.0
    return Tail(quantiles=[*quantiles[:-1].tolist(), last], share=share, index=min(3.0, max(THINNEST, index)))


def _shares(share: float, count: int) -> np.ndarray:
    """(count,) from 0 to `share`: evenly spaced in the logarithm of what lies above."""
    shares: np.ndarray = 1 - np.geomspace(1, 1 - share, count)
    return shares


def rarity(tail: Tail, numbers: np.ndarray) -> np.ndarray:
    """-log10 of the share of held-out steps with as large a number; never falls as a number rises."""
    last, inside = tail.quantiles[-1], -np.log10(1 - _shares(tail.share, len(tail.quantiles)))
    beyond = inside[-1] + np.log(np.maximum(numbers, last) / last) / (tail.index * math.log(10))
    found: np.ndarray = np.where(numbers > last, beyond, np.interp(numbers, tail.quantiles, inside))
    return found


def number_of(tail: Tail, rare: float) -> float:
    """The number that is so rare: the inverse of `rarity`."""
    inside = -np.log10(1 - _shares(tail.share, len(tail.quantiles)))
    if rare <= inside[-1]:
        return float(np.interp(rare, inside, tail.quantiles))
    return min(WORST, tail.quantiles[-1] * math.exp(min(50.0, (rare - inside[-1]) * tail.index * math.log(10))))


def stretches(strains: np.ndarray, state: State, past: Past | None = None) -> np.ndarray:
    """(T,): the decaying mean of the strains up to each step; a step without one (NaN) changes nothing. `past`: of
    the steps before."""
    past = past or Past()
    judged = ~np.isnan(strains)
    before = float(past.held.get("stretch", state.typical))
    found = np.full(len(strains), before)
    if state.smoothing and judged.any():
        cut = np.minimum(strains[judged], WILD)
        means = past.decayed("stretch", cut, state.smoothing, start=state.typical)
        count = np.cumsum(judged)
        found = np.where(count > 0, means[np.maximum(count - 1, 0)], before)
    return found


def trials(state: State) -> float:
    """log10 of how many single steps a stretch holds: among so many, one must be so much rarer to count the same."""
    return math.log10(max(1.0, 1 / (1 - 0.5 ** (1 / state.smoothing)))) if state.smoothing else 0.0


def usual(total: int, state: State, *, after: int = 0) -> np.ndarray:
    """(T,) how much more surprising the first steps of any series are than those of a grown one; of those that come
    `after` so many."""
    return np.interp(np.arange(after + 1, after + total + 1), AGES, state.young)


def youth(fresh: Sequence[np.ndarray], counted: Sequence[np.ndarray], grown: np.ndarray) -> list[float]:
    """At each age: the high surprises of series that are so young by those of grown ones; falls to 1."""
    usual = max(1e-6, float(np.nanquantile(grown, HIGH)))
    factors = []
    for low, age, high in zip((0, *AGES), AGES, (*AGES[1:], GROWN), strict=False):
        held = [s[low:high][c[low:high]] for s, c in zip(fresh, counted, strict=True)]
        near = np.concatenate(held)
        near = np.minimum(near[~np.isnan(near)], WILD)
        factors.append(float(np.quantile(near, HIGH)) / usual if len(near) >= FEWEST and age < GROWN else 1.0)
    falling: list[float] = np.maximum.accumulate(np.maximum(factors, 1.0)[::-1])[::-1].tolist()
    return falling


def scored(surprises: np.ndarray, strains: np.ndarray, state: State, past: Past | None = None) -> np.ndarray:
    """(T,) scores from 0 up, of what is relative to `usual`; 0 at a step without a surprise (NaN). `past`: of the
    steps before."""
    judged = ~np.isnan(surprises)
    single = rarity(state.steps, np.where(judged, surprises, 0.0)) - trials(state)
    if state.smoothing:
        single = np.maximum(single, rarity(state.stretches, stretches(strains, state, past)))
    return np.where(judged, np.maximum(single, 0.0), 0.0)


def threshold(sensitivity: float, state: State) -> float:
    """The score that flags: a quantile of the scores of held-out steps. Falls as the sensitivity rises.

    The odds of a held-out step above it are `state.excess`'s odds at sensitivity 0.95, times s / (1 - s) / 19.
    """
    s = min(max(sensitivity, 1e-9), 1 - 1e-9)
    odds = state.excess / (1 - state.excess) * s / (1 - s) / 19
    return quantile(state.scores, odds / (1 + odds))


def quantile(tail: Tail, excess: float) -> float:
    """The score above which a share of held-out steps lies. Scores are logarithms already: beyond what was seen, a
    tenth of the share is one score more."""
    if excess >= 1 - tail.share:
        return float(np.interp(1 - excess, _shares(tail.share, len(tail.quantiles)), tail.quantiles))
    return tail.quantiles[-1] + math.log10((1 - tail.share) / excess)


def calibrated(
    surprises: Sequence[np.ndarray], strains: Sequence[np.ndarray], counted: Sequence[np.ndarray], state: State
) -> State:
    """A state whose tails are those of the counted, normal steps of some held-out series."""

    def normal(numbers: Iterable[np.ndarray]) -> np.ndarray:
        found = zip(numbers, surprises, counted, strict=True)
        return np.concatenate([number[count & ~np.isnan(surprise)] for number, surprise, count in found])

    if len(normal(surprises)) < FEWEST:
        return state
    factors = [usual(len(each), state) for each in surprises]
    steps = [each / factor for each, factor in zip(surprises, factors, strict=True)]
    lasting = [each / factor for each, factor in zip(strains, factors, strict=True)]
    typical = float(np.mean(np.minimum(normal(lasting), WILD)))
    state = state.model_copy(update={"typical": typical, "steps": fitted(normal(steps))})
    state = state.model_copy(update={"stretches": fitted(normal(stretches(each, state) for each in lasting))})
    found = (scored(step, strain, state) for step, strain in zip(steps, lasting, strict=True))
    return state.model_copy(update={"scores": fitted(normal(found))})


def events(flags: np.ndarray, scores: np.ndarray, *, merge: int) -> list[tuple[int, int, int]]:
    """(start, end, peak) of each alarm: flags with at most `merge` steps between them are one."""
    at = np.flatnonzero(flags)
    if not len(at):
        return []
    cuts = np.flatnonzero(np.diff(at) > merge + 1)
    starts, ends = at[np.r_[0, cuts + 1]], at[np.r_[cuts, len(at) - 1]] + 1
    return [
        (start, end, start + int(np.argmax(np.where(flags[start:end], scores[start:end], -np.inf))))
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    ]
