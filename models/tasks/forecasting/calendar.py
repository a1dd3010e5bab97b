"""Frequencies: how long a season is, and which times follow. Knows dates, no series."""

from __future__ import annotations

import calendar
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

FREQ = re.compile(r"(\d{0,3})(YE|YS|Y|AS|A|QE|QS|Q|ME|MS|MIN|min|M|W|D|B|H|h|T|S|s)(-[A-Z]{3})?")
SEASONS = {"Y": 1, "Q": 4, "M": 12, "W": 52, "D": 7, "B": 5, "H": 24, "T": 60, "S": 60}
HORIZONS = {"Y": 4, "Q": 8, "M": 12, "W": 8, "D": 14, "B": 10, "H": 24, "T": 30, "S": 30}
SPANS = {"W": 604_800, "D": 86_400, "B": 86_400, "H": 3_600, "T": 60, "S": 1}
MONTHS = {"Y": 12, "Q": 3, "M": 1}


def parse(freq: str) -> tuple[int, str]:
    """A frequency such as "M", "QS", "15min" as how many of which unit. Raises `ValueError`."""
    found = FREQ.fullmatch(freq)
    if not found or found[1] == "0":
        raise ValueError(f"unknown frequency '{freq[:20]}'; known: Y, Q, M, W, D, B, H, min, S, with a number before")
    unit = "T" if found[2].lower() == "min" else found[2][0].upper().replace("A", "Y")
    return int(found[1] or 1), unit


def season(freq: str | None) -> int:
    """Steps of one season: 12 for months, 24 for hours, 96 for quarter hours; 1 where there is none."""
    if freq is None:
        return 1
    many, unit = parse(freq)
    length = 1440 // many if unit == "T" and many > 1 and 1440 % many == 0 else SEASONS[unit]
    return max(1, length // many) if unit != "T" else length


def horizon(freq: str | None) -> int:
    """How far ahead people look at a frequency."""
    return 12 if freq is None else HORIZONS[parse(freq)[1]]


def following(start: datetime, freq: str, *, skip: int, count: int) -> list[str]:
    """The times (RFC 3339) of `count` steps after the first `skip` from `start`, which is of its own zone: the last of
    a month there stays the last. Raises `OverflowError`."""
    many, unit = parse(freq)
    first = start.replace(tzinfo=UTC) if start.tzinfo is None else start
    moments = (_moved(first, many * index, unit) for index in range(skip, skip + count))
    return [moment.astimezone(UTC).isoformat().replace("+00:00", "Z") for moment in moments]


def _moved(start: datetime, steps: int, unit: str) -> datetime:
    if unit in MONTHS:
        month = start.month - 1 + steps * MONTHS[unit]
        year, month = start.year + month // 12, month % 12 + 1
        if year > 9999:
            raise OverflowError("a year beyond 9999")
        last = calendar.monthrange(year, month)[1]
        ends = start.day == calendar.monthrange(start.year, start.month)[1]
        return start.replace(year=year, month=month, day=last if ends else min(start.day, last))
    if unit == "B":
        weeks, days = divmod(min(start.weekday(), 5) + steps, 5)  # a weekend's first step is the Monday after
        return start + timedelta(days=weeks * 7 + days - start.weekday())
    return start + timedelta(seconds=steps * SPANS[unit])


def inferred(times: Sequence[datetime]) -> str | None:
    """The frequency of times in order, by the most usual step between two; None where they tell none."""
    gaps = sorted((b - a).total_seconds() for a, b in pairwise(times))
    if not gaps:
        return None
    step = gaps[(len(gaps) - 1) // 2]
    days = step / 86_400
    for unit, (low, high) in {"Y": (360, 370), "Q": (88, 93), "M": (27.5, 31.5), "W": (7, 7), "D": (1, 1)}.items():
        if low <= days <= high:
            return "B" if unit == "D" and _working(times) else unit
    for unit, most in (("H", 23), ("T", 59), ("S", 59)):
        many = step / SPANS[unit]
        if many.is_integer() and 1 <= many <= most:
            return f"{'' if many == 1 else int(many)}{'min' if unit == 'T' else unit}"
    return None


def places(times: Sequence[datetime], freq: str) -> list[int] | None:
    """How many steps each of times in order lies after the first; None where they are on no one grid of them, or two
    at one place."""
    many, unit = parse(freq)
    first = times[0]
    if unit in MONTHS:
        steps = [(12 * (t.year - first.year) + t.month - first.month) / (MONTHS[unit] * many) for t in times]
    elif unit == "B":
        weeks = [(t.date() - first.date()).days - t.weekday() + first.weekday() for t in times]
        steps = [(5 * week / 7 + t.weekday() - first.weekday()) / many for t, week in zip(times, weeks, strict=True)]
    else:
        steps = [(t - first).total_seconds() / (SPANS[unit] * many) for t in times]
    found = [round(step) for step in steps]
    near = all(abs(step - place) < 0.1 for step, place in zip(steps, found, strict=True))
    return found if near and all(b > a for a, b in pairwise(found)) else None


def _working(times: Sequence[datetime]) -> bool:
    """Whether days in order leave out weekends, and there were some to leave out."""
    return all(t.weekday() < 5 for t in times) and times[-1] - times[0] >= timedelta(days=len(times) + 1)
