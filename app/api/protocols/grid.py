"""Puts values with times on an even grid, so that what is missing can be filled. Knows no protocol and no model.

N values, T steps of the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Literal

import numpy as np

from models.tasks.forecasting import calendar

UNITS = {
    "yearly": "Y",
    "monthly": "M",
    "weekly": "W",
    "daily": "D",
    "hourly": "H",
    "minutely": "min",
    "secondly": "S",
}
"""How long steps are called; others have no grid."""
Fill = Literal["auto", "previous", "linear", "fixed", "zero", "notFill"]


class Uneven(ValueError):
    """Times that lie on no one grid; a sentence."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A series, step by step."""

    values: np.ndarray
    """(T,) NaN where missing."""
    times: Sequence[datetime | str] | None
    places: Sequence[int]
    """The step of each value that was given."""

    def told(self, trace: Sequence[float]) -> np.ndarray:
        """(N,) what is said of each step (T,), for the values that were given."""
        return np.asarray(trace)[list(self.places)]


def even(
    values: Sequence[float],
    times: Sequence[datetime] | None,
    *,
    step: str,
    many: int,
    fill: Fill,
    fixed: float | None,
    most: int,
) -> Grid:
    """Values on the grid of their times: `many` of `step` from one to the next. Raises `Uneven`."""
    array = np.array(values, dtype=np.float64)
    if times is None:
        return Grid(values=array, times=None, places=range(len(array)))
    for index, (one, other) in enumerate(pairwise(times)):
        if other <= one:
            raise Uneven(f"the time of point {index + 1} does not lie after that of point {index}")
    if fill == "notFill" or step not in UNITS:
        return Grid(values=array, times=times, places=range(len(array)))
    freq = f"{many if many > 1 else ''}{UNITS[step]}"
    places = calendar.places(times, freq)
    if places is None:
        raise Uneven(f"the points do not lie {many} {step} step{'' if many == 1 else 's'} or a multiple apart")
    total = places[-1] + 1
    if total > most:
        raise Uneven(f"from its first to its last time the series has {total} steps; at most {most}")
    whole = np.full(total, np.nan)
    whole[places] = array
    return Grid(
        values=_filled(whole, fill, fixed if fill == "fixed" else None),
        times=calendar.following(times[0], freq, skip=0, count=total),
        places=places,
    )


def _filled(values: np.ndarray, fill: Fill, fixed: float | None) -> np.ndarray:
    """What is missing, in one of the ways; left missing by `auto`. The first and the last are there."""
    known = np.flatnonzero(~np.isnan(values))
    if fill == "auto" or len(known) == len(values):
        return values
    if fill == "previous":
        last: np.ndarray = values[known[np.searchsorted(known, np.arange(len(values)), side="right") - 1]]
        return last
    if fill == "linear":
        line: np.ndarray = np.interp(np.arange(len(values)), known, values[known])
        return line
    return np.where(np.isnan(values), 0.0 if fixed is None else fixed, values)
