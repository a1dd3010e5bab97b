"""Bad input gets a problem that names the place; nothing leaks; keys are asked for where they should be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.services.keys import KeysNeeded, refuse_without_keys
from app.settings import Settings, WrongSetting, load
from tests.app import served

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("path", "body", "status", "pointer"),
    [
        ("/v1/forecasting", '{"inputs": [{"values": [1, 2, "x"]}]}', 422, "/inputs/0/values/2"),
        ("/v1/forecasting", '{"inputs": [{"values": [1, NaN]}]}', 422, "/inputs/0/values/1"),
        ("/v1/forecasting", '{"inputs": [{"values": [1]}, {"values": [null]}]}', 422, "/inputs/1/values"),
        ("/v1/forecasting", '{"inputs": [{"values": [1, 2]}], "params": {"horizon": 999}}', 422, "/params/horizon"),
        ("/v1/forecasting", '{"inputs": [{"values": [1]}], "surprise": 1}', 422, "/surprise"),
        ("/v1/forecasting", '{"inputs": []}', 422, "/inputs"),
        ("/v1/sentiment", '{"inputs": [""]}', 422, "/inputs/0"),
        ("/v1/sentiment", '{"inputs": [{"text": 3}]}', 422, "/inputs/0/text"),
        ("/v1/sentiment", '{"inputs": ["x"], "model": "no such one!"}', 422, "/model"),
        ("/v1/sentiment", "{", 400, None),
        ("/v1/sentiment", '{"inputs": ["x"], "model": "nobody"}', 404, None),
        ("/v1/sentiment", '{"inputs": ["x"], "model": "sales"}', 409, None),
        (
            "/v1/jobs",
            '{"task": "sentiment", "dataset": "x", "model": "m", "config": {"hidden": 0}}',
            422,
            "/config/hidden",
        ),
        ("/v1/jobs", '{"task": "nothing", "dataset": "x", "model": "m"}', 422, "/task"),
        ("/v1/jobs", '{"task": "sentiment", "dataset": "x", "model": "m"}', 404, None),
        ("/v1/nowhere", "{}", 404, None),
    ],
)
def test_a_problem_names_the_place(client: TestClient, path: str, body: str, status: int, pointer: str | None) -> None:
    answer = client.post(path, content=body, headers=JSON)
    problem = answer.json()
    assert answer.status_code == status, problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["status"] == status
    assert problem["detail"]
    if pointer is not None:
        assert pointer in [each.get("pointer") for each in problem["errors"]]


@pytest.mark.parametrize(
    ("path", "body", "flaw"),
    [
        (
            "/v1/jobs",
            {"kind": "compare", "task": "sentiment", "dataset": "x", "model": "m", "cells": ["gru", "gru"]},
            {"detail": "the cell 'gru' stands twice", "pointer": "/cells"},
        ),
        (
            "/v1/forecasting",
            {"inputs": [{"values": [None]}]},
            {"detail": "every value is null; at least one number is needed", "pointer": "/inputs/0/values"},
        ),
        (
            "/v1/jobs",
            {"task": "anomaly", "dataset": "x", "model": "m", "config": {"bidirectional": True}},
            {
                "detail": "`bidirectional` would read the future that the predictor forecasts; use the autoencoder",
                "pointer": "/config",
            },
        ),
        (
            "/v1/datasets?task=ner",
            {"tokens": ["a", "b", "c"], "tags": ["O", "O"]},
            {"detail": "3 tokens but 2 tags", "line": 1},
        ),
    ],
    ids=["request", "item", "config", "row"],
)
def test_a_sentence_of_ours_stands_alone(client: TestClient, path: str, body: object, flaw: dict[str, object]) -> None:
    headers = {"content-type": "application/x-ndjson"} if "datasets" in path else JSON
    answer = client.post(path, content=json.dumps(body), headers=headers)
    assert (answer.status_code, answer.json()["errors"]) == (422, [flaw])


def test_a_request_id_is_echoed_unless_it_is_hostile(client: TestClient) -> None:
    assert client.get("/health/live", headers={"X-Request-ID": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert client.get("/health/live", headers={"X-Request-ID": 'a"b c'}).headers["x-request-id"] != 'a"b c'


def test_an_unknown_query_parameter_is_refused(client: TestClient) -> None:
    assert client.get("/v1/models?tusk=sentiment").status_code == 422
    assert client.get("/v1/models?task=sentiment").status_code == 200


def test_no_item_is_looked_at_where_there_are_too_many(client: TestClient) -> None:
    answer = client.post("/v1/sentiment", json={"inputs": [5] * 10_001}).json()
    assert (answer["faults"], answer["errors"][0]["pointer"]) == (1, "/inputs")
    assert answer["errors"][0]["detail"] == "10001 entries, where at most 10000 may be"


def test_a_body_above_the_limit_is_413(tmp_path: Path) -> None:
    with served.client(served.services(tmp_path / "home", max_json=2048)) as client:
        assert client.post("/v1/sentiment", content=b"[" * 4096, headers=JSON).status_code == 413
        assert client.post("/v1/sentiment", content=iter([b"[" * 1024] * 4), headers=JSON).status_code == 413


def test_every_item_alone_or_in_company_gets_the_same_answer(client: TestClient) -> None:
    texts = ["I loved it", "Terrible.", "A wonderful, warm and funny film that I would watch again and again 😀", "?"]
    together = client.post("/v1/sentiment", json={"inputs": texts}).json()["outputs"]
    for text, output in zip(texts, together, strict=True):
        alone = client.post("/v1/sentiment", json={"inputs": [text]}).json()["outputs"][0]
        assert alone["label"] == output["label"]
        assert alone["score"] == pytest.approx(output["score"], abs=1e-5)
        assert sum(output["scores"].values()) == pytest.approx(1)


def test_keys_and_scopes(tmp_path: Path) -> None:
    services = served.services(tmp_path / "home")
    with served.client(services) as client:
        assert client.get("/v1/models").status_code == 200, "on loopback none is needed until one exists"
        predict, admin = services.keys.create("app", ["predict"]), services.keys.create("ops", ["admin"])
        assert client.get("/v1/models").status_code == 401
        assert client.get("/v1/models", headers={"Authorization": "Bearer cg_x_wrong"}).status_code == 401
        assert client.get("/v1/models", headers={"Authorization": f"Bearer {predict}"}).status_code == 200
        assert client.get("/v1/jobs", headers={"Authorization": f"Bearer {predict}"}).status_code == 403
        assert client.get("/v1/jobs", headers={"Authorization": f"Bearer {admin}"}).status_code == 200
        train = {"Authorization": f"Bearer {services.keys.create('learn', ['train'])}"}
        for path in ("/v1/jobs", "/v1/models", "/v1/models/m/versions/1", "/v1/tasks/sentiment", "/v1/devices"):
            assert client.get(path, headers=train).status_code in {200, 404}, path
        refused = client.post("/v1/sentiment", json={"inputs": ["x"]}, headers=train)
        assert (refused.status_code, refused.json()["detail"]) == (
            403,
            "this key may train; the scope 'predict' is needed",
        )
        assert client.get("/health/live").status_code == 200
        services.keys.revoke(services.keys.list()[0].id)
        assert client.get("/v1/models", headers={"Authorization": f"Bearer {predict}"}).status_code == 401


def test_another_address_needs_a_key(tmp_path: Path) -> None:
    services = served.services(tmp_path / "home", host="0.0.0.0")  # noqa: S104  what is refused
    with pytest.raises(KeysNeeded, match="cellgate keys create"):
        refuse_without_keys(services.settings, services.keys)
    services.keys.create("ops", ["admin"])
    refuse_without_keys(services.settings, services.keys)
    services.database.close()


def test_a_wrong_setting_stops_the_start_with_a_sentence() -> None:
    with pytest.raises(WrongSetting, match="unknown setting CELLGATE_PROT; known: CELLGATE_HOST"):
        load({"CELLGATE_PROT": "1"})
    with pytest.raises(WrongSetting, match="CELLGATE_PORT='x'"):
        load({"CELLGATE_PORT": "x"})
    assert load({"HOME": "/", "CELLGATE_PORT": "9"}) == Settings(port=9)


def test_readiness_names_what_fails(tmp_path: Path, archives: dict[str, Path]) -> None:
    services = served.services(tmp_path / "home")
    with served.client(services) as client:
        assert client.get("/health/ready").json() == {
            "status": "ready",
            "checks": {"database": "ok", "blobs": "ok", "models": "ok"},
        }
        made = client.post("/v1/models/import?name=reviews", content=archives["sentiment"].read_bytes()).json()
        again = client.post("/v1/models/import", content=archives["sentiment"].read_bytes()).json()
        assert (again["model"], again["version"]) == ("sentiment", 1), "without a name, that of its task"
        services.blobs.delete(made["digest"])
        assert client.post("/v1/sentiment", json={"inputs": ["x"]}).status_code == 503
        ready = client.get("/health/ready")
        assert (ready.status_code, ready.json()["checks"]["models"]) == (503, "cannot be loaded: reviews")
