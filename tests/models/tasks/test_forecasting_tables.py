"""Times that follow each other, and tables of series: what is read, what is missing, what is wrong."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from models.readers import Bad
from models.tasks.forecasting import calendar
from models.tasks.forecasting.schema import Item, Row
from models.tasks.forecasting.tables import table


@pytest.mark.parametrize(
    ("freq", "start", "skip", "expected"),
    [
        ("M", "2024-01-31T00:00:00Z", 1, "2024-02-29T00:00:00Z"),
        ("QS", "2024-01-01T00:00:00Z", 4, "2025-01-01T00:00:00Z"),
        ("15min", "2024-01-01T00:00:00Z", 96, "2024-01-02T00:00:00Z"),
        ("B", "2024-01-05T00:00:00Z", 1, "2024-01-08T00:00:00Z"),
        ("Y", "2024-02-29T00:00:00Z", 1, "2025-02-28T00:00:00Z"),
        ("W", "2024-01-01T02:00:00+02:00", 1, "2024-01-08T00:00:00Z"),
        ("M", "2024-01-31T00:00:00+02:00", 1, "2024-02-28T22:00:00Z"),
        ("B", "2024-01-05T00:00:00+02:00", 1, "2024-01-07T22:00:00Z"),
        ("B", "2024-01-06T00:00:00Z", 0, "2024-01-08T00:00:00Z"),
        ("B", "2024-01-07T00:00:00Z", 6, "2024-01-16T00:00:00Z"),
    ],
)
def test_the_times_that_follow(freq: str, start: str, skip: int, expected: str) -> None:
    assert calendar.following(datetime.fromisoformat(start), freq, skip=skip, count=1) == [expected]


@pytest.mark.parametrize(
    ("freq", "season"), [(None, 1), ("M", 12), ("H", 24), ("15min", 96), ("2H", 12), ("Q", 4), ("min", 60)]
)
def test_the_season_of_a_frequency(freq: str | None, season: int) -> None:
    assert calendar.season(freq) == season


@pytest.mark.parametrize("freq", ["MONTHLY", "0D", "", "fortnight"])
def test_an_unknown_frequency_is_refused(freq: str) -> None:
    with pytest.raises(ValidationError, match="unknown frequency"):
        Item(values=[1.0], freq=freq)


@pytest.mark.parametrize(
    ("step", "freq"),
    [(1 / 24, "H"), (1, "D"), (7, "W"), (1 / 96, "15min"), (365, "Y"), (1 / 6, "4H"), (15 / 86_400, "15S"), (3, None)],
)
def test_the_frequency_of_times(step: float, freq: str | None) -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    assert calendar.inferred([start + timedelta(days=step * at) for at in range(5)]) == freq


def pivoted(*records: dict[str, Any]) -> list[dict[str, Any]]:
    found = [made for made in table(iter(list(enumerate(records, start=2)))) if not isinstance(made, Bad)]
    for _, made in found:
        Row.model_validate(made)
    return [dict(made) for _, made in found]


def faults(*records: dict[str, Any]) -> list[Bad]:
    return [made for made in table(iter(list(enumerate(records, start=2)))) if isinstance(made, Bad)]


def test_a_wide_table_is_a_series_a_column() -> None:
    a, b = pivoted(
        {"date": "2024-01-01", "a": "1", "b": ""},
        {"date": "2024-01-02", "a": "2", "b": "5"},
        {"date": "2024-01-03", "a": "NA", "b": "6"},
    )
    assert (a["id"], a["values"], a["freq"]) == ("a", [1, 2, None], "D")
    assert (b["id"], b["values"]) == ("b", [None, 5, 6])
    assert [made["values"] for made in pivoted({"x": "1", "y": "3"}, {"x": "2", "y": "4"})] == [[1, 2], [3, 4]]


def test_a_long_table_is_put_in_the_order_of_its_times() -> None:
    times = ["2024-01-03", "2024-01-01T00:00:00Z", "2024-01-02"]
    found = pivoted(
        *({"id": name, "timestamp": time, "value": time[9]} for time in times for name in ("b", "a")),
    )
    assert [made["id"] for made in found] == ["b", "a"]
    assert all(made["values"] == [1, 2, 3] and made["freq"] == "D" for made in found)
    assert found[0]["start"].startswith("2024-01-01")


def test_records_that_are_rows_stay_so() -> None:
    row = {"values": [1, 2], "freq": "D"}
    assert pivoted(row) == [row]


PARTS_OF = {"a": "test", "b": "train", "c": None}


def days(*numbers: int) -> list[dict[str, Any]]:
    return [{"date": (datetime(2024, 1, 1) + timedelta(days=n)).date().isoformat(), "a": str(n)} for n in numbers]


def test_days_that_are_left_out_are_missing_values() -> None:
    (found,) = pivoted(*days(0, 1, 2, 5, 6, 7))
    assert found["values"] == [0, 1, 2, None, None, 5, 6, 7]
    (months,) = pivoted(*({"Month": f"2023-{month:02}", "a": month} for month in (1, 2, 3, 6)))
    assert (months["freq"], months["values"]) == ("M", [1, 2, 3, None, None, 6])
    (quarters,) = pivoted(*({"date": f"2023Q{n}", "a": n} for n in (1, 2, 4)))
    assert (quarters["start"][:10], quarters["freq"], quarters["values"]) == ("2023-01-01", "Q", [1, 2, None, 4])


def test_days_may_be_dates() -> None:
    assert pivoted(*({"date": date(2024, 1, n), "a": n} for n in (1, 2)))[0]["freq"] == "D"


def test_days_without_weekends_are_working_days() -> None:
    (found,) = pivoted(*days(0, 1, 2, 3, 4, 7, 8, 10, 11))
    assert (found["freq"], found["values"]) == ("B", [0, 1, 2, 3, 4, 7, 8, None, 10, 11])
    assert pivoted(*days(0, 1, 2, 3))[0]["freq"] == "D"


@pytest.mark.parametrize("numbers", [(0, 0, 1, 2, 3), (0, 1, 2, 900)])
def test_times_that_stand_twice_or_far_apart_are_left_as_they_are(numbers: tuple[int, ...]) -> None:
    assert pivoted(*days(*numbers))[0]["values"] == list(numbers)


def test_a_days_hours_may_change_with_the_season() -> None:
    start = datetime(2024, 3, 29, tzinfo=ZoneInfo("Europe/Madrid"))
    times = [(start + timedelta(days=n)).isoformat() for n in (0, 1, 2, 3, 5)]
    (found,) = pivoted(*({"date": time, "a": 1} for time in times))
    assert (found["freq"], found["values"]) == ("D", [1, 1, 1, 1, None, 1])


def test_columns_of_other_tools_are_known() -> None:
    found = pivoted(*({"unique_id": "a", "ds": f"2024-01-0{n}", "y": n} for n in (1, 2, 3)))
    assert found == [{"id": "a", "values": [1, 2, 3], "start": "2024-01-01T00:00:00+00:00", "freq": "D"}]


def test_a_series_of_a_long_table_may_name_its_part() -> None:
    lines = ({"id": name, "timestamp": n, "value": n, "split": part} for n in (1, 2) for name, part in PARTS_OF.items())
    assert {made["id"]: made.get("split") for made in pivoted(*lines)} == PARTS_OF


def test_cells_that_are_no_numbers_are_told_by_line_and_column() -> None:
    assert faults({"date": "2024-01-01", "a": "1,5"})[0].line == 2
    found = faults(*days(0, 1), {"date": "2024-01-03", "a": "1,5"}, {"date": "2024-01-04", "a": "1_0"})
    assert [fault.line for fault in found] == [4, 5]
    assert found[0].detail == "a: '1,5' is no number; write it as 1234.5, and leave what is missing empty"


def test_times_that_cannot_be_read_are_told_once_and_counts_are_none() -> None:
    (fault,) = faults({"date": "13/01/2024", "a": 1, "b": 2}, {"date": "14/01/2024", "a": 1, "b": 2})
    assert fault == Bad(2, "'13/01/2024' is no time; write it as 2024-01-31 or 2024-01-31T00:00:00Z")
    (fault,) = faults({"date": "2024-01-01", "a": 1}, {"date": "soon", "a": 1})
    assert fault.line == 3
    assert pivoted({"time": "1", "a": 5}, {"time": "2", "a": 6}) == [{"id": "a", "values": [5, 6]}]
