"""Data sets of series: tables as rows, and what a person wants to read about them. Knows records, no network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.readers import Bad
from models.tables import moment, no_time, number, unreadable
from models.task import Fault, Line, Part, Tally

TIMES = ("timestamp", "timestamps", "time", "date", "datetime", "ds")
MARKS = {"true": 1, "false": 0}
"""Labels that are words."""
LABELS = ("label", "labels", "anomaly", "is_anomaly")


class SeriesTally(Tally):
    """Counts series, steps, missing values and labelled anomalies."""

    def __init__(self) -> None:
        self.series = self.steps = self.missing = self.constant = self.empty = self.untimed = 0
        self.labelled = self.odd_steps = self.odd_events = 0
        self.shortest, self.longest = 10**9, 0
        self.widths: dict[int, int] = {}
        """How many numbers a step has -> the first line with so many."""

    def add(self, row: Any, *, line: int, part: Part | None) -> None:
        values = row.values.reshape(len(row.values), -1)
        self.series += 1
        self.steps += len(values)
        self.missing += int(np.isnan(values).sum())
        low, high = np.nanmin(values, initial=np.inf), np.nanmax(values, initial=-np.inf)
        self.constant += bool(low == high)
        self.empty += bool(low > high)
        self.untimed += row.timestamps is None
        self.shortest, self.longest = min(self.shortest, len(values)), max(self.longest, len(values))
        self.widths.setdefault(values.shape[1], line)
        if row.labels is not None:
            odd = np.array([0, *row.labels])
            self.labelled += 1
            self.odd_steps += int(odd.sum())
            self.odd_events += int((np.diff(odd) > 0).sum())

    def stats(self) -> dict[str, Any]:
        return {
            "series": self.series,
            "steps": self.steps,
            "features": sorted(self.widths),
            "missing": self.missing,
            "constant_series": self.constant,
            "shortest": self.shortest if self.series else 0,
            "longest": self.longest,
            "labelled_series": self.labelled,
            "labelled_anomalies": self.odd_events,
            "labelled_steps": self.odd_steps,
            "series_with_timestamps": self.series - self.untimed,
        }

    def faults(self) -> list[tuple[int | None, str]]:
        (first, _), *others = self.widths.items()
        return [(line, f"{width} numbers in a step, where the first row has {first}") for width, line in others]

    def warnings(self) -> list[str]:
        found = []
        if self.constant:
            found.append(f"{self.constant} of {self.series} series never change; nothing can be learnt from them")
        if self.empty:
            found.append(f"{self.empty} of {self.series} series hold no value at all")
        if self.odd_steps > 0.2 * self.steps:
            found.append(
                f"{self.odd_steps} of {self.steps} steps are labelled as anomalies; what is so common is hardly odd"
            )
        if self.labelled and not self.odd_steps:
            found.append("labels are given and mark no step: nothing can be scored by them")
        if 0 < self.untimed < self.series:
            found.append(f"{self.untimed} of {self.series} series have no timestamps: their hours are unknown")
        return found


@dataclass
class _Gathered:
    """The records of one series of a table."""

    line: int
    split: Any
    values: list[list[Any]] = field(default_factory=list)
    times: list[Any] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


def table(lines: Iterator[Line]) -> Iterator[Line | Bad]:
    """A table as series: a record a step, with a column of times, of labels, of the series' `id` and of its `split`
    where there are such; every other column is a feature.

    Where every time of a series can be read, its steps are put in their order.
    """
    series: dict[str | None, _Gathered] = {}
    for line, record in lines:
        if "values" in record:
            yield line, record
            continue
        cells = dict(record)
        columns = {column.lower(): column for column in cells}
        name, split = cells.pop("id", None), cells.pop("split", None)
        time, label = (
            next((cells.pop(columns[column]) for column in names if column in columns), None)
            for names in (TIMES, LABELS)
        )
        found = series.setdefault(None if name is None else str(name), _Gathered(line, split))
        if split != found.split:
            raise Fault(f"the series '{name}' names the parts '{found.split}' and '{split}'; a series lies in one")
        step: list[Any] = []
        for column, cell in cells.items():
            try:
                step.append(number(cell))
            except ValueError as error:
                step.append(None)
                yield Bad(line, f"{column[:80]}: {error}")
        found.values.append(step)
        found.times.append(time)
        found.lines.append(line)
        found.labels.append(MARKS.get(str(label).lower(), label))
    for name, found in series.items():
        odd = unreadable(found.times)
        yield (found.line, _row(name, found)) if odd is None else Bad(found.lines[odd], no_time(found.times[odd]))


def _row(name: str | None, found: _Gathered) -> dict[str, Any]:
    moments = [time for time in map(moment, found.times) if time is not None]
    order = list(range(len(found.values)))
    row: dict[str, Any] = {}
    if len(moments) == len(order):
        order.sort(key=moments.__getitem__)
        row["timestamps"] = [moments[at].isoformat() for at in order]
    values = [found.values[at] for at in order]
    row["values"] = [step[0] for step in values] if len(values[0]) == 1 else values
    if any(label is not None for label in found.labels):
        row["labels"] = [found.labels[at] or 0 for at in order]
    if name is not None:
        row["id"] = name
    if found.split is not None:
        row["split"] = found.split
    return row
