"""Tables of series as rows: long, or a column a series. Knows records and times, no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.readers import Bad
from models.tables import moment, no_time, number, unreadable
from models.task import Line
from models.tasks.forecasting import calendar

IDS, VALUES = ("id", "unique_id"), ("value", "y")
TIMES = ("timestamp", "ds", "date", "time", "datetime")
"""What the columns of a long table are called, and that of the times of any."""
SPARSE, LONGEST = 20, 1_000_000
"""A series has no gaps filled where it would become so many times as long, or longer than this."""


@dataclass
class _Series:
    """What was found of one series."""

    line: int
    split: Any
    values: list[Any] = field(default_factory=list)
    times: list[Any] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


def table(lines: Iterator[Line]) -> Iterator[Line | Bad]:
    """A table as series: long (`id, timestamp, value`, perhaps `split`), or a column each with the times in the first.

    Where every time of a series can be read, its values are put in their order, and where the times lie on one grid,
    what is not there is missing. A cell that is neither a number nor missing is a fault, and so is a time that cannot
    be read where others can, or where it is no number either."""
    series: dict[str, _Series] = {}
    for line, record in lines:
        if "values" in record:
            yield line, record
            continue
        long = _long(record)
        cells, time = long or _wide(record)
        for name, cell in cells.items():
            found = series.setdefault(name, _Series(line, split=record.get("split") if long else None))
            try:
                found.values.append(number(cell))
            except ValueError as error:
                yield Bad(line, f"{name[:80]}: {error}")
            else:
                found.times.append(time)
                found.lines.append(line)
    told: set[int] = set()
    for name, found in series.items():
        if not found.values:
            continue  # every cell of it was wrong
        odd = unreadable(found.times)
        if odd is None:
            part = {} if found.split is None else {"split": found.split}
            yield found.line, {"id": name, **_dated(found.values, found.times), **part}
        elif found.lines[odd] not in told:
            told.add(found.lines[odd])
            yield Bad(found.lines[odd], no_time(found.times[odd]))


def _long(record: Mapping[str, Any]) -> tuple[dict[str, Any], Any] | None:
    """The value of a long record under the name of its series, and its time."""
    columns = {name.lower(): name for name in record}
    found = [next((columns[name] for name in names if name in columns), None) for names in (IDS, TIMES, VALUES)]
    if None in found:
        return None
    name, time, value = (record[str(column)] for column in found)
    return {str(name): value}, time


def _wide(record: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """The cells of a wide record, and its time: the first column, where that is one."""
    first, *others = record
    if first.lower() in TIMES or moment(record[first]) is not None:
        return {name: record[name] for name in others}, record[first]
    return dict(record), None


def _dated(values: Sequence[Any], given: Sequence[Any]) -> dict[str, Any]:
    """Values in the order of their times, with the first time and the frequency."""
    times = [time for time in map(moment, given) if time is not None]
    if not times:
        return {"values": list(values)}
    order = sorted(range(len(times)), key=times.__getitem__)
    values, times = [values[at] for at in order], [times[at] for at in order]
    start, freq = times[0].isoformat(), calendar.inferred(times)
    if freq is None:
        return {"values": values, "start": start}
    places = calendar.places(times, freq)
    if places is not None and places[-1] < min(SPARSE * len(places), LONGEST):
        filled = [None] * (places[-1] + 1)
        for place, value in zip(places, values, strict=True):
            filled[place] = value
        values = filled
    return {"values": values, "start": start, "freq": freq}
