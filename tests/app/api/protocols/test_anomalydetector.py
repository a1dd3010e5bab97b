"""Azure's clients are answered by the default detector: margins, gaps, changes and errors as their specification says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from app.api.protocols.anomalydetector import changes
from app.api.protocols.grid import Uneven, even
from tests.app import served

ROOT = "/compat/anomalydetector/v1.1/timeseries"
START = datetime(2024, 1, 1, tzinfo=UTC)
WAVE = [100 + 20 * float(np.sin(2 * np.pi * hour / 24)) for hour in range(120)]
SPIKED = [*WAVE[:100], 900.0, *WAVE[101:]]


def times(count: int) -> list[str]:
    return [(START + timedelta(hours=hour)).isoformat().replace("+00:00", "Z") for hour in range(count)]


def points(values: Sequence[float], *, but: Sequence[int] = ()) -> list[dict[str, Any]]:
    dated = zip(times(len(values)), values, strict=True)
    return [{"timestamp": time, "value": value} for hour, (time, value) in enumerate(dated) if hour not in but]


def ask(client: TestClient, route: str, values: Sequence[float], *, but: Sequence[int] = (), **asked: Any) -> Any:
    sent = {"series": points(values, but=but), "granularity": "hourly", **asked}
    answer = client.post(f"{ROOT}/{route}/detect", json=sent)
    assert answer.status_code == 200, answer.text
    return answer.json()


def own(client: TestClient, values: Sequence[float | None], sensitivity: float) -> dict[str, Any]:
    """What the task's own route says."""
    item = {"values": values, "timestamps": times(len(values))}
    answer = client.post("/v1/anomaly", json={"inputs": [item], "params": {"sensitivity": sensitivity}})
    output: dict[str, Any] = answer.json()["outputs"][0]
    return output


@pytest.mark.parametrize("sensitivity", [95, 60])
def test_every_point_is_judged(speaking: TestClient, sensitivity: int) -> None:
    output = own(speaking, SPIKED, sensitivity / 100)
    found = ask(speaking, "entire", SPIKED, sensitivity=sensitivity)
    expected = np.array(found["expectedValues"])
    assert expected == pytest.approx(output["expected"])
    margins = 100 - sensitivity
    assert expected + margins * np.array(found["upperMargins"]) == pytest.approx(output["upper"])
    assert expected - margins * np.array(found["lowerMargins"]) == pytest.approx(output["lower"])
    assert found["isAnomaly"] == output["is_anomaly"]
    assert found["isPositiveAnomaly"][100] is True
    assert found["isNegativeAnomaly"][100] is False
    assert found["period"] == 24
    assert all((severity > 0) <= flag for severity, flag in zip(found["severity"], found["isAnomaly"], strict=True))
    assert 0 < found["severity"][100] <= 1


def test_the_oddest_are_told_where_too_many_are_flagged(speaking: TestClient) -> None:
    many = ask(speaking, "entire", SPIKED, sensitivity=99, maxAnomalyRatio=0.49)
    few = ask(speaking, "entire", SPIKED, sensitivity=99, maxAnomalyRatio=0.01)
    assert sum(many["isAnomaly"]) > sum(few["isAnomaly"]) == 1
    assert few["isAnomaly"][int(np.argmax(many["severity"]))] is True


def test_gaps_are_filled_and_not_told(speaking: TestClient) -> None:
    gaps = [40, 41, 90]
    whole: list[float | None] = [None if hour in gaps else value for hour, value in enumerate(SPIKED)]
    output = own(speaking, whole, 0.95)
    found = ask(speaking, "entire", SPIKED, but=gaps)
    kept = [value for hour, value in enumerate(output["expected"]) if hour not in gaps]
    assert found["expectedValues"] == pytest.approx(kept)
    assert found["isAnomaly"][97] is True
    fixed = ask(speaking, "entire", SPIKED, but=gaps, imputeMode="fixed", imputeFixedValue=100)
    output = own(speaking, [100.0 if value is None else value for value in whole], 0.95)
    kept = [value for hour, value in enumerate(output["expected"]) if hour not in gaps]
    assert fixed["expectedValues"] == pytest.approx(kept)


def test_the_last_point_is_judged_as_in_the_whole(speaking: TestClient) -> None:
    whole = ask(speaking, "entire", SPIKED[:101])
    found = ask(speaking, "last", SPIKED[:101])
    assert found == {
        "period": 24,
        "suggestedWindow": 97,
        "expectedValue": whole["expectedValues"][-1],
        "upperMargin": whole["upperMargins"][-1],
        "lowerMargin": whole["lowerMargins"][-1],
        "isAnomaly": True,
        "isNegativeAnomaly": False,
        "isPositiveAnomaly": True,
        "severity": whole["severity"][-1],
    }
    untimed = {"series": [{"value": value} for value in SPIKED[:101]], "period": 0}
    assert speaking.post(f"{ROOT}/last/detect", json=untimed).json()["suggestedWindow"] == 29


def test_a_step_that_lasts_is_a_change_and_a_spike_is_none(speaking: TestClient) -> None:
    stepped = [value + 400 * (hour >= 80) for hour, value in enumerate(WAVE)]
    found = ask(speaking, "changepoint", stepped)
    assert [hour for hour, change in enumerate(found["isChangePoint"]) if change] == [80]
    assert 0.9 < found["confidenceScores"][80] <= 1
    assert sum(found["confidenceScores"]) == found["confidenceScores"][80]
    assert not any(ask(speaking, "changepoint", SPIKED)["isChangePoint"])


def test_a_change_is_told_from_its_season() -> None:
    values = np.tile([0.0, 10.0, 20.0, 10.0], 6) + 50.0 * (np.arange(24) >= 12)
    flags = np.isin(np.arange(24), [11, 12, 13])
    alarm = SimpleNamespace(start=11, end=14)
    flat = SimpleNamespace(is_anomaly=flags, events=[alarm], lower=np.full(24, -2.0), upper=np.full(24, 12.0))
    assert changes(values, flat, window=5, season=4) == [12]
    assert changes(values - 50.0 * (np.arange(24) >= 12), flat, window=5, season=4) == []
    assert changes(values[:14], flat, window=5, season=4) == []


@pytest.mark.parametrize(
    ("route", "changed", "code", "sentence"),
    [
        ("entire", {"series": None}, "InvalidSeries", "/series: a list is expected"),
        ("entire", {"series": points(WAVE[:5])}, "InvalidSeries", "5 entries, where at least 12"),
        ("entire", {"series": points(WAVE)[::-1]}, "InvalidSeries", "point 1 does not lie after"),
        ("entire", {"series": [{"value": 1}] * 12}, "InvalidSeries", "12 points have no timestamp"),
        (
            "entire",
            {"series": [{"timestamp": "0001-01-01T00:00:00+05:00", "value": 1}] * 12},
            "InvalidSeries",
            "outside",
        ),
        ("entire", {"granularity": "daily"}, "InvalidSeries", "do not lie 1 daily step or a multiple apart"),
        ("entire", {"granularity": "often"}, "InvalidGranularity", "not 'often'"),
        ("entire", {"customInterval": 0}, "InvalidCustomInterval", "at least 1"),
        ("entire", {"period": -1}, "InvalidPeriod", "at least 0"),
        ("entire", {"sensitivity": 100}, "InvalidModelArgument", "at most 99"),
        ("entire", {"maxAnomalyRatio": 0.5}, "InvalidModelArgument", "less than 0.5"),
        ("entire", {"imputeMode": "guess"}, "InvalidImputeMode", "not 'guess'"),
        ("entire", {"imputeMode": "fixed"}, "InvalidImputeFixedValue", "needs `imputeFixedValue`"),
        ("entire", {"surprise": 1}, "BadArgument", "unknown field `surprise`"),
        ("changepoint", {"threshold": 1}, "InvalidModelArgument", "less than 1"),
    ],
)
def test_a_fault_has_the_code_of_its_field(
    speaking: TestClient, route: str, changed: dict[str, Any], code: str, sentence: str
) -> None:
    sent = {"series": points(WAVE), "granularity": "hourly", **changed}
    answer = speaking.post(f"{ROOT}/{route}/detect", json=sent)
    assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text
    assert sentence in answer.json()["message"]


def test_what_is_missing_or_no_json_has_a_code_of_its_own(speaking: TestClient) -> None:
    url = f"{ROOT}/changepoint/detect"
    assert speaking.post(url, json={"granularity": "hourly"}).json()["code"] == "RequiredSeries"
    assert speaking.post(url, json={"series": points(WAVE)}).json()["code"] == "RequiredGranularity"
    assert speaking.post(url, content=b"{").json()["code"] == "InvalidJsonFormat"


def test_the_key_may_lie_in_azures_header(tmp_path: Path) -> None:
    services = served.services(tmp_path / "home")
    with served.client(services) as client:
        key, url = services.keys.create("mine", ["predict"]), f"{ROOT}/entire/detect"
        sent = {"series": points(WAVE)}
        assert client.post(url, json=sent).json()["code"] == "Unauthorized"
        wrong = client.post(url, json=sent, headers={"Ocp-Apim-Subscription-Key": "cg_a_b"})
        assert (wrong.status_code, wrong.json()["code"]) == (401, "Unauthorized")
        for headers in ({"Ocp-Apim-Subscription-Key": key}, {"Authorization": f"Bearer {key}"}):
            nobody = client.post(url, json=sent, headers=headers)
            assert (nobody.status_code, nobody.json()["code"]) == (404, "NotFound")
            assert "no model answers for anomaly yet" in nobody.json()["message"]


@pytest.mark.parametrize(
    ("fill", "filled"), [("previous", [1, 1, 4]), ("linear", [1, 2.5, 4]), ("zero", [1, 0, 4]), ("fixed", [1, 7, 4])]
)
def test_how_a_gap_is_filled(fill: Any, filled: list[float]) -> None:
    months = [datetime(2024, 1, 31, tzinfo=UTC), datetime(2024, 3, 31, tzinfo=UTC)]
    grid = even([1.0, 4.0], months, step="monthly", many=1, fill=fill, fixed=7.0, most=10)
    assert grid.values.tolist() == filled
    assert list(grid.places) == [0, 2]
    assert grid.told(filled).tolist() == [1, 4]


def test_a_gap_may_not_be_endless() -> None:
    far = [START, START + timedelta(days=9)]
    with pytest.raises(Uneven, match="777601 steps; at most 8640"):
        even([1.0, 2.0], far, step="secondly", many=1, fill="auto", fixed=None, most=8640)
    assert len(even([1.0, 2.0], far, step="secondly", many=1, fill="notFill", fixed=None, most=8640).values) == 2
    assert len(even([1.0, 2.0], far, step="microsecond", many=1, fill="auto", fixed=None, most=8640).values) == 2
