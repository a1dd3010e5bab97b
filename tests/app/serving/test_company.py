"""Answers are the same alone and in any company, and what the company cost is counted."""

from __future__ import annotations

import random
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.testclient import TestClient

WORDS = ["good", "bad", "loved", "hated", "this", "that", "movie", "film", "never", "always", "dull", "great"]


def test_answers_are_the_same_alone_and_under_load(client: TestClient) -> None:
    draw = random.Random(0)  # noqa: S311
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(1, 60))) for _ in range(60)]
    alone = [client.post("/v1/sentiment", json={"inputs": [text]}).json()["outputs"][0] for text in texts]
    together = client.post("/v1/sentiment", json={"inputs": texts}).json()["outputs"]
    with ThreadPoolExecutor(12) as pool:
        crowded = list(
            pool.map(lambda text: client.post("/v1/sentiment", json={"inputs": [text]}).json()["outputs"][0], texts)
        )
    for one, other, third in zip(alone, together, crowded, strict=True):
        assert other["scores"] == pytest.approx(one["scores"], abs=1e-5)
        assert third["scores"] == pytest.approx(one["scores"], abs=1e-5)


def test_batches_waits_and_padding_are_in_stats_and_metrics(client: TestClient) -> None:
    client.post("/v1/sentiment", json={"inputs": ["good", "good bad", " ".join(WORDS)]})
    client.post("/v1/sentiment", json={"inputs": ["good"]}, headers={"Priority": "u=7"})
    stats = client.get("/v1/models/reviews/stats").json()
    assert (stats["requests"], stats["items"]) == (2, 4)
    assert sum(stats["batch_sizes"].values()) == stats["batches"] > 0
    assert 0 <= stats["padding"] < 1
    assert stats["mean_wait_seconds"] >= 0
    text = client.get("/metrics").text
    label = r'\{model="reviews",version="1"\} '
    assert re.search(rf"cellgate_model_items_total{label}4\.0", text)
    assert re.search(rf"cellgate_model_batch_items_sum{label}4\.0", text)
    assert re.search(rf"cellgate_model_batch_items_count{label}{stats['batches']}\.0", text)
    steps, padded = (
        float(re.search(rf"cellgate_model_{name}_total{label}(\S+)", text).group(1))  # type: ignore[union-attr]
        for name in ("steps", "padded_steps")
    )
    assert 1 - steps / padded == pytest.approx(stats["padding"])
    assert re.search(rf"cellgate_model_wait_seconds_total{label}\d", text)


def test_requests_of_several_models_are_answered_side_by_side(client: TestClient) -> None:
    faults: list[str] = []

    def ask(path: str, item: object) -> None:
        for _ in range(10):
            answer = client.post(path, json={"inputs": [item] * 5})
            if answer.status_code != 200 or len(answer.json()["outputs"]) != 5:
                faults.append(answer.text)

    asked = [("/v1/sentiment", "good"), ("/v1/forecasting", {"values": [float(i % 7) for i in range(60)]})] * 3
    threads = [threading.Thread(target=ask, args=each) for each in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not faults
