"""Nixtla's client is answered with what the tasks' own routes say, series after series, in its shapes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import zstandard
from starlette.testclient import TestClient

ROOT = "/compat/timegpt"
ONE = [10 + 5 * float(np.sin(month)) for month in range(40)]
TWO = [*ONE[:20], None, *ONE[21:30]]
SERIES = {"y": [*ONE, *TWO], "sizes": [len(ONE), len(TWO)], "X": None, "X_future": None}
SENT = {
    "forecast": {"series": SERIES, "model": "timegpt-2.1", "freq": "MS", "h": 2, "finetune_steps": 0},
    "anomaly_detection": {"series": SERIES, "model": "timegpt-1", "freq": "MS", "level": 99},
}
"""What the client sends, and what else it may say."""


def ask(client: TestClient, route: str, **changed: Any) -> Any:
    answer = client.post(f"{ROOT}/v2/{route}", json={**SENT[route], **changed})
    assert answer.status_code == 200, answer.text
    return answer.json()


def own(client: TestClient, task: str, **asked: Any) -> list[Any]:
    answer = client.post(f"/v1/{task}", json=asked)
    assert answer.status_code == 200, answer.text
    outputs: list[Any] = answer.json()["outputs"]
    return outputs


def test_series_are_forecast(speaking: TestClient) -> None:
    inputs = [{"values": values, "freq": "MS"} for values in (ONE, TWO)]
    quantiles = [0.05, 0.1, 0.5, 0.9, 0.95]
    outputs = own(speaking, "forecasting", inputs=inputs, params={"horizon": 2, "quantiles": quantiles})
    found = ask(speaking, "forecast", level=[80, 90, 0], clean_ex_first=True, finetune_depth=1)
    assert found["mean"] == [value for each in outputs for value in each["mean"]]
    shares = {"lo-80": "0.1", "hi-80": "0.9", "lo-90": "0.05", "hi-90": "0.95", "lo-0": "0.5", "hi-0": "0.5"}
    assert found["intervals"] == {
        bound: [value for each in outputs for value in each["quantiles"][share]] for bound, share in shares.items()
    }
    assert [found[f"{kind}_tokens"] for kind in ("input", "output", "finetune")] == [70, 4, 0]
    assert found["weights_x"] is found["feature_contributions"] is None
    assert ask(speaking, "forecast", model="sales:1")["intervals"] is None
    assert ask(speaking, "forecast", model="nobody", finetuned_model_id="sales")["mean"] == found["mean"]


def test_steps_outside_of_their_interval_are_anomalies(speaking: TestClient) -> None:
    odd = [*ONE[:30], 900.0, *ONE[31:], None]
    series = {"y": odd, "sizes": [len(odd)], "start_datetime": ["2024-01-01T00:00:00"]}
    (output,) = own(speaking, "anomaly", inputs=[{"values": odd}])
    found = ask(speaking, "anomaly_detection", series=series)
    assert found["mean"] == pytest.approx(output["expected"])
    assert found["intervals"]["lo-99"] == pytest.approx(output["lower"])
    assert found["intervals"]["hi-99"] == pytest.approx(output["upper"])
    assert found["sizes"] == [41]
    assert found["anomaly"][30] is True
    assert found["anomaly"][40] is False
    narrow = ask(speaking, "anomaly_detection", series=series, level=80)["intervals"]["hi-80"]
    assert all(near <= far for near, far in zip(narrow, found["intervals"]["hi-99"], strict=True))


def test_the_client_is_told_what_it_asks_before(speaking: TestClient) -> None:
    assert speaking.get(f"{ROOT}/validate_api_key").json() == {"detail": "the key is valid"}
    asked = {"model": "timegpt-2.1", "freq": "MS"}
    found = speaking.get(f"{ROOT}/model_params", params=asked).json()["detail"]
    assert found["horizon"] >= 2
    past = found["input_size"]
    long = [10.0 * (step % 7) + step for step in range(past + 50)]
    whole, cut = (
        ask(speaking, "forecast", series={"y": values, "sizes": [len(values)]}) for values in (long, long[-past:])
    )
    assert whole["mean"] == pytest.approx(cut["mean"], rel=1e-5)
    assert speaking.get(f"{ROOT}/model_params", params={**asked, "model": "meters"}).json()["detail"]["horizon"] == 1
    wrong = speaking.get(f"{ROOT}/model_params", params={**asked, "freq": "moon"})
    assert (wrong.status_code, "unknown frequency 'moon'" in wrong.json()["detail"]) == (400, True)


def test_a_large_body_comes_compressed(speaking: TestClient) -> None:
    sent = json.dumps(SENT["forecast"]).encode()
    packed, headers = zstandard.ZstdCompressor().compress(sent), {"Content-Encoding": "zstd"}
    url = f"{ROOT}/v2/forecast"
    assert speaking.post(url, content=packed, headers=headers).json() == speaking.post(url, content=sent).json()
    assert speaking.post(url, content=sent, headers=headers).json() == {"detail": "the body is not what zstd makes"}
    bomb = zstandard.ZstdCompressor().compress(bytes(17 * 1024 * 1024))
    refused = speaking.post(url, content=bomb, headers=headers)
    assert (refused.status_code, refused.json()["detail"]) == (413, "the body may have 16777216 bytes at most")
    other = speaking.post(url, content=sent, headers={"Content-Encoding": "br"})
    assert (other.status_code, other.json()["detail"]) == (400, "the body is encoded as 'br'; zstd is known here")


@pytest.mark.parametrize(
    ("route", "changed", "status", "sentence"),
    [
        ("forecast", {"series": {**SERIES, "sizes": [3]}}, 400, "`sizes` add up to 3 but `y` has 70 values"),
        ("forecast", {"series": {**SERIES, "X": [[1.0] * 70]}}, 400, "leave `X` and `X_future` out"),
        ("forecast", {"series": {"y": [], "sizes": []}}, 400, "/series/y: it is empty"),
        ("forecast", {"finetune_steps": 10}, 400, "a model learns in a job (POST /v1/jobs)"),
        ("forecast", {"feature_contributions": True}, 400, "leave `feature_contributions` false"),
        ("forecast", {"model_parameters": {"a": 1}}, 400, "leave `model_parameters` out"),
        ("forecast", {"multivariate": True}, 400, "leave `multivariate` false"),
        ("forecast", {"h": 0}, 400, "/h: at least 1 is expected, not 0"),
        ("forecast", {"h": 9999}, 400, "a horizon of 9999 is beyond the"),
        ("forecast", {"level": [100]}, 400, "/level/0: at most 99.99 is expected"),
        ("forecast", {"freq": "moon"}, 400, "/freq: unknown frequency 'moon'"),
        ("forecast", {"surprise": 1}, 400, "unknown field `surprise`"),
        ("forecast", {"model": "nobody"}, 404, "no model 'nobody'"),
        ("forecast", {"model": "meters"}, 400, "the model 'meters' is for anomaly, not forecasting"),
        ("forecast", {"series": {"y": [1.0] * 257, "sizes": [1] * 257}}, 413, "257 inputs in one request"),
        ("anomaly_detection", {"level": 0}, 400, "/level: more than 0 is expected"),
        ("anomaly_detection", {"model": "sales"}, 400, "the model 'sales' is for forecasting, not anomaly"),
    ],
)
def test_what_cannot_be_done_is_a_detail(
    speaking: TestClient, route: str, changed: dict[str, Any], status: int, sentence: str
) -> None:
    answer = speaking.post(f"{ROOT}/v2/{route}", json={**SENT[route], **changed})
    assert (answer.status_code, sentence in answer.json()["detail"]) == (status, True), answer.text


def test_what_is_not_served_is_a_detail_too(speaking: TestClient) -> None:
    answer = speaking.post(f"{ROOT}/v2/cross_validation", json={})
    assert (answer.status_code, answer.json()["detail"]) == (404, f"nothing is at {ROOT}/v2/cross_validation")
