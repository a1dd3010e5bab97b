"""Tables of steps as rows: a row a line with its steps in a cell, or a step a line; times. Knows columns, no task."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Any

from models.task import Fault, Line

NOT_FEATURES = {"id", "label", "split", "step", "time", "timestamp", "frame"}
"""Columns of a table with a step a line that say which step it is, and of what; all others are its features."""
MISSING = (None, "", "NA", "NaN", "nan", "null", "NULL")
"""What a cell without a number holds."""


def cells(lines: Iterator[Line], field: str, *, words: bool = False) -> Iterator[Line]:
    """Records whose `field` is text become records whose `field` is a list: of JSON, or of what stands between
    blanks (and commas or semicolons, but for `words`)."""
    for number, record in lines:
        cell = record.get(field)
        yield number, ({**record, field: _listed(cell, words=words)} if isinstance(cell, str) else record)


def steps(lines: Iterator[Line], field: str, *, column: str | None = None) -> Iterator[Line]:
    """Records of one step each become records of all steps of an `id`, in the order of the file: of what stands in
    one column, or of a list of all features.

    Raises `Fault` where a line has no id, where those of an id do not stand together or do not have one label.
    """
    seen: set[str] = set()
    for name, group in groupby(lines, key=lambda line: str(line[1].get("id") or "")):
        held = list(group)
        number, first = held[0]
        if not name:
            raise Fault(f"line {number} has no `id`; where each line is a step, it says which steps belong together")
        if name in seen:
            raise Fault(f"line {number}: id '{name[:80]}' stood above already; the lines of an id must stand together")
        seen.add(name)
        for one in ("label", "split"):
            found = {str(record.get(one)) for _, record in held}
            if len(found) > 1:
                raise Fault(f"the id '{name[:80]}' has several {one}s: {', '.join(sorted(found)[:3])}")
        kept = {one: first[one] for one in ("label", "split") if first.get(one) is not None}
        yield number, {**kept, field: [_step(record) if column is None else record[column] for _, record in held]}


def number(cell: Any) -> Any:
    """What a cell holds: its number where text is one, None where it is missing. Raises `ValueError` in a sentence."""
    if cell in MISSING:
        return None
    if not isinstance(cell, str):
        return cell
    try:
        if "_" in cell:
            raise ValueError("Python alone reads 1_000 as a number")
        return float(cell)
    except ValueError:
        raise ValueError(f"'{cell[:40]}' is no number; write it as 1234.5, and leave what is missing empty") from None


def moment(value: Any) -> datetime | None:
    """A time, in UTC where it names no zone; None for what is none. A month (2024-01) or a quarter (2024Q1) is the
    first moment of it."""
    if isinstance(value, str) and re.search(r".[-/Q]", value):
        value = _read(value)
    if not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC) if isinstance(value, date) else None
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


def unreadable(times: Sequence[Any]) -> int | None:
    """The place of the first that should be a time and is none: where others are, or where it is a text that is no
    number either. All times may be lacking, or count."""
    read = [moment(time) for time in times]
    if any(read):
        return next((at for at, time in enumerate(read) if time is None), None)
    return next((at for at, time in enumerate(times) if isinstance(time, str) and not _counts(time)), None)


def _counts(time: str) -> bool:
    try:
        float(time)
    except ValueError:
        return False
    return True


def no_time(value: Any) -> str:
    """What is wrong with a text that is no time."""
    return f"'{str(value)[:40]}' is no time; write it as 2024-01-31 or 2024-01-31T00:00:00Z"


MONTH = re.compile(r"(\d{4})[-/](\d{1,2})")
QUARTER = re.compile(r"(\d{4})[- ]?Q([1-4])")


def _read(text: str) -> datetime | None:
    month, quarter = MONTH.fullmatch(text), QUARTER.fullmatch(text)
    try:
        if month:
            return datetime(int(month[1]), int(month[2]), 1, tzinfo=UTC)
        if quarter:
            return datetime(int(quarter[1]), 3 * int(quarter[2]) - 2, 1, tzinfo=UTC)
        return datetime.fromisoformat(text.replace("/", "-") if text[4:5] == "/" else text)
    except ValueError:
        return None


def _step(record: Mapping[str, Any]) -> list[Any]:
    return [value for column, value in record.items() if column not in NOT_FEATURES]


def _listed(cell: str, *, words: bool) -> Any:
    if cell.lstrip().startswith("["):
        try:
            return json.loads(cell)
        except ValueError:
            return cell
    return cell.split() if words else [part for part in re.split(r"[\s,;]+", cell) if part]
