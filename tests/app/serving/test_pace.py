"""What passes cost is measured, fitted, and kept for this machine; what follows from it for batches."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from app.serving import calibrated
from app.serving.pace import GUESS, MOST_STEPS, Pace
from models import artifact, calibration, predictor
from models.calibration import Point
from models.predictor import Predictor
from tests.app import served

PACE = Pace(fixed=1e-4, step=4e-6, item=2e-5, padded=8e-6)


@pytest.fixture
def held(tmp_path: Path, archives: dict[str, Path]) -> Predictor:
    (tmp_path / "unpacked").mkdir()
    artifact.unpack(archives["sentiment"], tmp_path / "unpacked")
    return predictor.load(tmp_path / "unpacked")


def test_the_formula_is_found_again() -> None:
    points = [Point(items=b, steps=t, seconds=PACE.seconds(b, t)) for b in (1, 2, 8) for t in (8, 32)]
    found = calibrated.fitted(points)
    assert found.measured
    for name in ("fixed", "step", "item", "padded"):
        assert getattr(found, name) == pytest.approx(getattr(PACE, name), rel=1e-4)


def test_no_term_is_below_zero_however_noisy_the_measurement_was() -> None:
    draw = np.random.default_rng(0)
    for _ in range(50):
        points = [Point(items=b, steps=t, seconds=float(draw.uniform(1e-4, 1e-2))) for b in (1, 2, 4) for t in (8, 32)]
        found = calibrated.fitted(points)
        assert min(found.fixed, found.step, found.item, found.padded) >= 0
        assert found.seconds(4, 32) > 0


def test_a_batch_has_company_that_saves_more_than_its_padding_costs() -> None:
    assert PACE.chosen(20, [20, 21, 400, 19]) == [0, 1, 3]
    free = Pace(fixed=1.0, step=0.0, item=0.0, padded=0.0)
    assert len(free.chosen(10, [10] * 500)) == 127, "never more than the most"
    endless = Pace(fixed=0.0, step=1.0, item=0.0, padded=1e-6)
    longest = MOST_STEPS // 4
    assert len(endless.chosen(longest, [longest] * 50)) == 3, "nor more steps than memory may hold"


def test_a_version_is_measured_within_its_time(held: Predictor) -> None:
    points = calibration.points(held, seconds=2.0)
    assert {point.items for point in points} == set(calibration.SIZES)
    assert len({point.steps for point in points}) == 2
    answer, slow = held.answer, 0.05

    def slowly(examples: Any, params: Any) -> list[Any]:
        time.sleep(slow)
        return answer(examples, params)

    held.answer = slowly  # type: ignore[method-assign]
    began = time.perf_counter()
    assert calibration.points(held, seconds=0.1)
    assert time.perf_counter() - began < 1


def test_a_version_that_cannot_be_measured_is_guessed(held: Predictor) -> None:
    held.close()
    assert calibrated.measure(held) is GUESS


def test_a_pace_is_kept_for_this_machine_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = calibrated.place(tmp_path, device="cpu", threads=1)
    assert calibrated.kept(path) is None
    calibrated.keep(PACE, path)
    assert calibrated.kept(path) == PACE
    path.write_text('{"fixed": "no"}', encoding="utf-8")
    assert calibrated.kept(path) is None, "what is damaged is measured again"
    others = [
        calibrated.place(tmp_path, device="cpu", threads=2),
        calibrated.place(tmp_path, device="cuda:0", threads=1),
    ]
    monkeypatch.setattr(calibrated, "onnxruntime", SimpleNamespace(__version__="0"))
    others.append(calibrated.place(tmp_path, device="cpu", threads=1))
    assert len({path, *others}) == 4
    calibrated.keep(PACE, tmp_path / "missing" / "folder")  # no fault


def test_a_cold_model_answers_before_it_is_measured_and_is_measured_once(
    tmp_path: Path, archives: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[float] = []

    def measure(_: Predictor) -> Pace:
        time.sleep(0.5)
        measured.append(time.monotonic())
        return PACE

    monkeypatch.setattr(calibrated, "measure", measure)
    with served.client(served.services(tmp_path / "home")) as client:
        client.post("/v1/models/import?name=reviews", content=archives["sentiment"].read_bytes())
        assert client.post("/v1/sentiment", json={"inputs": ["good"]}).status_code == 200
        assert not _pace(client)["measured"]
        _until_measured(client)
    counts = []
    for _ in range(2):  # what was measured beside an answer may not have been kept; what was measured alone is
        with served.client(served.services(tmp_path / "home")) as client:
            client.post("/v1/models/reviews/load")
            _until_measured(client)
            counts.append(len(measured))
    assert counts[0] == counts[1]


def _pace(client: TestClient) -> dict[str, Any]:
    stats: dict[str, Any] = client.get("/v1/models/reviews/stats").json()
    return stats["pace"]


def _until_measured(client: TestClient) -> None:
    ends = time.monotonic() + 10
    while not _pace(client)["measured"]:
        assert time.monotonic() < ends
        time.sleep(0.02)
    assert _pace(client)["fixed_seconds"] == PACE.fixed
