"""How long the season of one series is, by its autocorrelation. NumPy only; knows no task."""

from __future__ import annotations

import numpy as np

LEAST = 0.3
"""The least autocorrelation that tells a season."""
SHARE = 0.9
"""A shorter season counts before a longer one if it explains this share of that: a week before a fortnight."""
WILD = 3.0
"""Spreads from the line through a series beyond which a value says no more: one spike makes no season."""


def period(values: np.ndarray) -> int:
    """Steps of the season of a series (T,), NaN where a value is missing, of which there are at least two; 0 where
    nothing recurs."""
    known = np.flatnonzero(~np.isnan(values))
    if len(known) < 6:
        return 0
    steps = np.arange(len(values))
    filled = np.interp(steps, known, values[known])
    rest = filled - np.polyval(np.polyfit(steps, filled, 1), steps)
    spread = 1.4826 * float(np.median(np.abs(rest))) or float(np.std(rest))
    if spread <= 1e-9 * max(1.0, float(np.max(np.abs(filled)))):
        return 0
    rest = np.clip(rest, -WILD * spread, WILD * spread)
    rest = rest - rest.mean()
    padded = np.fft.rfft(rest, 2 * len(rest))
    found = np.fft.irfft(np.abs(padded) ** 2)[: len(rest) // 2 + 1]
    found = found / found[0]
    inner = found[1:-1]
    peaks = np.flatnonzero((inner > found[:-2]) & (inner >= found[2:]) & (inner >= LEAST)) + 1
    if not len(peaks):
        return 0
    return int(peaks[found[peaks] >= SHARE * found[peaks].max()][0])
