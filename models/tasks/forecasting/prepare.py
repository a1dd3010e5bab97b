"""What a window goes through before the network reads it, and back. NumPy only; knows one window at a time.

Preparation beats architecture (Smyl 2020; Hewamalage et al. 2021): a window is put on its logarithm
where it is above zero, its season is taken out, and it is levelled at its last value and scaled by the
size of its own steps. What the network learns is then the same for a shop and for a country.

n steps of the past, T of them read, h steps ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CYCLES = 8
"""Seasons of the past that say what the season is; older ones weigh less."""
DECAY = 0.85
FAINT = 1e-30
"""The least that a series' unit may be of its greatest value: numbers stay within bounds whatever is sent."""
LEAST = 1e-280
"""The least unit: a future of any size can be divided by it."""
LIMIT = 20.0
"""Where inputs are cut: so many typical steps from the last value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One prepared window, and what leads back."""

    values: np.ndarray
    """(T,) levelled and scaled; 0 where missing."""
    present: np.ndarray
    """(T,) bool."""
    level: float
    scale: float
    ahead: np.ndarray
    """(h,) the season to put back."""
    unit: float
    """What the values were divided by first."""
    log: bool
    season: int
    strength: float

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Future values (h',) as the network is to say them; NaN where missing."""
        y = _transformed(values / self.unit, log=self.log)
        scaled: np.ndarray = _within((y - self.ahead[: len(y)] - self.level) / self.scale, 3 * LIMIT)
        return scaled


def prepare(
    past: np.ndarray, *, season: int, look_back: int, horizon: int, log: bool, adjust: bool, scale: float
) -> Window:
    """The window of a past (n,) with NaN where missing; at least one value is present."""
    past = past[-reach(look_back, season) :]
    present = ~np.isnan(past)
    whole = bool(present.all())
    seen = past if whole else past[present]
    sizes = np.sort(np.abs(seen))
    middle, largest = float(sizes[(len(sizes) - 1) // 2] + sizes[len(sizes) // 2]) / 2, float(sizes[-1])
    unit = max(max(middle, FAINT * largest) or largest or 1.0, LEAST)
    logged = log and bool((seen > 0).all())
    y = _transformed((past if whole else _filled(past, present)) / unit, log=logged)
    indices, strength = _season(y, season) if adjust else (np.zeros(season), 0.0)
    adjusted = y - indices[(np.arange(len(y)) - len(y)) % season] if adjust else y
    lag = season if len(y) > season else 1
    steps = np.abs(adjusted[lag:] - adjusted[:-lag])
    typical = float(steps.sum()) / len(steps) if len(steps) else 0.0
    typical = typical if typical > 1e-6 * max(1.0, float(np.abs(y).max())) else scale
    level = float(adjusted[-1 if whole else np.flatnonzero(present)[-1]])
    read = slice(-look_back, None)
    values = _within((adjusted[read] - level) / typical, LIMIT) * present[read]
    return Window(
        values=values.astype(np.float32),
        present=present[read],
        level=level,
        scale=typical,
        ahead=indices[np.arange(horizon) % season] if adjust else np.zeros(horizon),
        unit=unit,
        log=logged,
        season=season,
        strength=strength,
    )


def reach(look_back: int, season: int) -> int:
    """How many of a series' last values have a say in its window."""
    return max(look_back, CYCLES * season)


def restored(windows: Sequence[Window], outputs: np.ndarray) -> np.ndarray:
    """What the network said of some windows (B, h', Q) as values."""
    scale, level, unit, log = (
        np.array([getattr(window, name) for window in windows])[:, None, None]
        for name in ("scale", "level", "unit", "log")
    )
    ahead = np.array([window.ahead[: outputs.shape[1]] for window in windows])[:, :, None]
    y = outputs.astype(np.float64) * scale + level + ahead
    values: np.ndarray = (np.where(log, np.exp(_within(y, 60)), y) if log.any() else y) * unit
    return values


def _transformed(values: np.ndarray, *, log: bool) -> np.ndarray:
    if not log:
        return values
    with np.errstate(invalid="ignore"):
        logs: np.ndarray = np.log(np.maximum(values, 1e-12))
    return logs


def _within(values: np.ndarray, most: float) -> np.ndarray:
    """Cut at plus and minus `most`; a third of `np.clip`'s time on a few values."""
    cut: np.ndarray = np.minimum(np.maximum(values, -most), most)
    return cut


def _filled(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Missing values by a line between their neighbours."""
    known = np.flatnonzero(present)
    filled: np.ndarray = np.interp(np.arange(len(values)), known, values[known])
    return filled


def _season(y: np.ndarray, season: int) -> tuple[np.ndarray, float]:
    """The classical decomposition: what each phase adds to a centred moving average, (season,), counted
    from the step after the last; shrunk by its own strength (Wang, Smith and Hyndman 2006)."""
    if season < 2 or len(y) < 2 * season + 1:
        return np.zeros(season), 0.0
    kernel = np.full(season + 1, 1 / season) if season % 2 == 0 else np.full(season, 1 / season)
    if season % 2 == 0:
        kernel[[0, -1]] /= 2
    trend = np.convolve(y, kernel, mode="valid")
    half = (len(y) - len(trend)) // 2
    rest = y[half : half + len(trend)] - trend
    at = np.arange(half, half + len(trend))
    phases = (at - len(y)) % season
    weights = DECAY ** ((len(y) - at) / season)
    weight = np.bincount(phases, weights, minlength=season)
    indices = np.bincount(phases, weights * rest, minlength=season) / np.maximum(weight, 1e-12)
    indices -= indices.mean()
    variance = float(np.var(rest))
    strength = 0.0 if variance <= 1e-18 else max(0.0, 1 - float(np.var(rest - indices[phases])) / variance)
    return indices * strength, strength
