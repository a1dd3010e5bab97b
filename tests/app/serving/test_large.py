"""Requests that are large: nobody else waits while they are read and prepared, and what is small takes no detour."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

import app.api.lean
from app.serving.predictions import LARGE
from models.predictor import Predictor

TEXT = " ".join(["good"] * 200)


def body(size: int) -> dict[str, Any]:
    """A request of a little more bytes than `size`."""
    return {"model": "reviews", "inputs": [TEXT] * (size // len(TEXT) + 1)}


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, threading.Event]]:
    """The preparing of what is asked here waits until it is let go."""
    events = {"began": threading.Event(), "go": threading.Event()}
    prepare = Predictor.prepare

    def waiting(self: Predictor, item: Any, params: Any) -> Any:
        if item == TEXT:  # versions are probed with others
            events["began"].set()
            assert events["go"].wait(10)
        return prepare(self, item, params)

    monkeypatch.setattr(Predictor, "prepare", waiting)
    yield events
    events["go"].set()


def test_others_are_answered_while_a_large_request_is_prepared(
    client: TestClient, held: dict[str, threading.Event]
) -> None:
    with ThreadPoolExecutor(1) as pool:
        large = pool.submit(client.post, "/v1/sentiment", json=body(LARGE))
        assert held["began"].wait(20)
        assert [client.get("/health/live").status_code for _ in range(5)] == [200] * 5
        assert not large.done()
        late = client.post("/v1/sentiment", json=body(LARGE), headers={"X-Deadline-Ms": "100"})
        assert (late.status_code, late.json()["type"]) == (504, "/problems/late")
        held["go"].set()
        answer = large.result()
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["outputs"]) == len(body(LARGE)["inputs"])


def test_what_is_small_takes_no_detour(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    prepare, read = Predictor.prepare, app.api.lean._body

    def prepared(self: Predictor, *given: Any) -> Any:
        seen.append(threading.current_thread().name)
        return prepare(self, *given)

    def parsed(*given: Any) -> Any:
        seen.append(threading.current_thread().name)
        return read(*given)

    assert client.post("/v1/sentiment", json=body(1)).status_code == 200  # it is loaded, and probed
    monkeypatch.setattr(Predictor, "prepare", prepared)
    monkeypatch.setattr(app.api.lean, "_body", parsed)
    for size, threads in ((1, ["", ""]), (LARGE, ["read_0"] + ["prepare_0"] * len(body(LARGE)["inputs"]))):
        seen.clear()
        assert client.post("/v1/sentiment", json=body(size)).status_code == 200
        assert [name if name.startswith(("read", "prepare")) else "" for name in seen] == threads
    wrong = client.post("/v1/sentiment", json={**body(LARGE), "surprise": 1})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/surprise")
