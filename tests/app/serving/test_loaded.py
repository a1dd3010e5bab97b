"""What stays in memory, and what a caller hears when something is missing, damaged or too big."""

from __future__ import annotations

from pathlib import Path

from starlette.testclient import TestClient

from tests.app import served

ASK = {"inputs": ["I loved this movie!"], "model": "reviews"}


def imported(client: TestClient, archive: Path, name: str = "reviews", promote: str = "never") -> dict:
    made = client.post(f"/v1/models/import?name={name}&promote={promote}", content=archive.read_bytes())
    assert made.status_code == 201, made.text
    return made.json()


def test_missing_and_foreign_models_are_named(client: TestClient) -> None:
    statuses = {"nobody": 404, "reviews:9": 404, "reviews@staging": 404, "sales": 409, "No Name": 422}
    for reference, status in statuses.items():
        answer = client.post("/v1/sentiment", json={**ASK, "model": reference})
        assert answer.status_code == status, (reference, answer.text)
    assert client.get("/v1/models/reviews:9/stats").status_code == 404


def test_a_version_registered_elsewhere_answers_at_once(tmp_path: Path, archives: dict[str, Path]) -> None:
    here = served.services(tmp_path / "home")
    elsewhere = served.services(tmp_path / "home")
    with served.client(here) as client, served.client(elsewhere) as other:
        imported(other, archives["sentiment"])
        assert client.post("/v1/sentiment", json=ASK).json()["model"]["version"] == 1
        assert client.post("/v1/sentiment", json={"inputs": ["good"]}).status_code == 200


def test_weights_are_held_as_the_load_asks(client: TestClient) -> None:
    loaded = client.post("/v1/models/reviews/load").json()
    assert loaded["weights"] == "fp32"
    assert client.post("/v1/models/reviews/load", json={"precision": "fp32"}).json() == loaded
    assert client.get("/v1/models/reviews/stats").json()["weights"] == "fp32"
    assert client.post("/v1/models/reviews/load", json={"precision": "int4"}).status_code == 422
    assert client.post("/v1/sentiment", json=ASK).status_code == 200


def test_a_deleted_number_never_comes_back(client: TestClient, archives: dict[str, Path]) -> None:
    assert imported(client, archives["sentiment2"])["version"] == 2
    assert client.post("/v1/sentiment", json={**ASK, "model": "reviews:2"}).status_code == 200
    assert client.delete("/v1/models/reviews/versions/2").status_code == 204
    assert client.post("/v1/sentiment", json={**ASK, "model": "reviews:2"}).status_code == 404
    assert imported(client, archives["sentiment2"])["version"] == 3


def test_what_was_damaged_on_disk_is_unpacked_again(tmp_path: Path, archives: dict[str, Path]) -> None:
    home = tmp_path / "home"
    with served.client(served.services(home)) as client:
        imported(client, archives["sentiment"])
        first = client.post("/v1/sentiment", json=ASK).json()
        assert client.post("/v1/models/reviews/unload").status_code == 204
        (weights,) = (home / "cache").glob("*/net.onnx")
        weights.write_bytes(b"damaged")
        assert client.post("/v1/sentiment", json=ASK).json() == first


def test_the_default_moves_at_once(client: TestClient, archives: dict[str, Path]) -> None:
    imported(client, archives["sentiment2"], "others")
    assert client.put("/v1/tasks/sentiment/default", json={"model": "others"}).json()["default"]
    assert client.post("/v1/sentiment", json={"inputs": ["good"]}).json()["model"]["name"] == "others"
    assert client.put("/v1/tasks/sentiment/default", json={"model": "sales"}).status_code == 409


def test_a_bad_item_is_named_and_nothing_is_queued(client: TestClient) -> None:
    before = client.get("/v1/models/sales/stats").json()
    body = {"inputs": [{"values": [1.0, 2.0, 3.0]}, {"values": [None, None]}], "model": "sales"}
    answer = client.post("/v1/forecasting", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"].startswith("/inputs/1")
    wrong = {"inputs": [{"values": [1.0, 2.0, 3.0]}] * 3, "model": "sales", "params": {"horizon": 100_000}}
    errors = client.post("/v1/forecasting", json=wrong).json()["errors"]
    assert [error["pointer"] for error in errors] == ["/params/horizon"]
    after = client.get("/v1/models/sales/stats").json()
    assert after.get("requests", 0) == before.get("requests", 0)


def test_the_network_comes_alone_as_onnx(client: TestClient) -> None:
    answer = client.get("/v1/models/reviews/versions/1/export?format=onnx")
    assert answer.status_code == 200
    assert len(answer.content) > 1000
    assert client.get("/v1/models/reviews/versions/1/export?format=pickle").status_code == 422


def test_devices_say_what_they_hold(client: TestClient) -> None:
    loaded = client.post("/v1/models/reviews/load").json()
    assert (loaded["model"], loaded["version"], loaded["device"], loaded["devices"]) == ("reviews", 1, "cpu", ["cpu"])
    assert loaded["weights"] == "fp32"
    assert loaded["memory"] > 0
    devices = {device["id"]: device for device in client.get("/v1/devices").json()["items"]}
    assert "reviews:1" in devices["cpu"]["models"]
    assert devices["cpu"]["memory_total"] > devices["cpu"]["memory_free"] > 0
