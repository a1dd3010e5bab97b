"""The repository and the statistics of the Open Inference Protocol: what is ready, and what it has done."""

from __future__ import annotations

from pathlib import Path

from starlette.testclient import TestClient

from tests.app import served

ASKED = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": ["good", "bad"]}]}


def test_a_model_is_ready_until_it_is_unloaded_and_when_it_is_asked_again(client: TestClient) -> None:
    assert client.get("/v2/models/reviews/ready").json() == {"name": "reviews", "ready": True}
    assert client.post("/v2/models/reviews/infer", json=ASKED).status_code == 200
    assert client.post("/v2/repository/models/reviews/unload", json={}).content == b""
    index = client.post("/v2/repository/index").json()
    gone = {"name": "reviews", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"}
    assert index == [gone, {"name": "sales", "version": "1", "state": "READY", "reason": ""}]
    assert client.post("/v2/repository/index", json={"ready": True}).json() == index[1:]
    ready = client.get("/v2/models/reviews/versions/1/ready")
    assert (ready.status_code, ready.json()) == (409, {"error": "version 1 of 'reviews' is not ready: unloaded"})
    assert client.post("/v2/repository/models/reviews/load", content=b"{}").status_code == 200
    assert client.get("/v2/models/reviews/ready").status_code == 200
    client.post("/v2/repository/models/reviews/unload", json={"parameters": {"unload_dependents": False}})
    assert client.post("/v2/models/reviews/infer", json=ASKED).status_code == 200
    assert client.get("/v2/models/reviews/ready").status_code == 200


def test_loading_says_how_to_keep_and_takes_nothing_else(client: TestClient) -> None:
    assert client.post("/v2/repository/models/reviews/load", json={"parameters": {"pinned": True}}).status_code == 200
    assert client.get("/v1/models/reviews/stats").json()["pinned"] is True
    for path, body, status in (
        ("reviews/load", {"parameters": {"config": "{}"}}, 400),
        ("nobody/load", {}, 404),
        ("nobody/unload", {}, 404),
    ):
        answer = client.post(f"/v2/repository/models/{path}", json=body)
        assert (answer.status_code, list(answer.json())) == (status, ["error"])


def test_statistics_count_items_batches_and_time(client: TestClient) -> None:
    before = client.get("/v2/models/reviews/stats").json()["model_stats"][0]
    assert (before["inference_count"], before["last_inference"], before["batch_stats"]) == (0, 0, [])
    for _ in range(3):
        client.post("/v2/models/reviews/infer", json=ASKED)
    (found,) = client.get("/v2/models/reviews/versions/1/stats").json()["model_stats"]
    assert (found["name"], found["version"], found["inference_count"]) == ("reviews", "1", 6)
    assert found["last_inference"] > 1_500_000_000_000
    stats = found["inference_stats"]
    assert (stats["success"]["count"], stats["fail"]["count"], stats["queue"]["count"]) == (3, 0, 6)
    assert stats["compute_infer"]["count"] == found["execution_count"]
    assert stats["success"]["ns"] == stats["compute_infer"]["ns"] + stats["queue"]["ns"] > 0
    assert sum(each["compute_infer"]["count"] for each in found["batch_stats"]) == found["execution_count"]
    assert found["memory_usage"][0]["byte_size"] > 0
    assert [each["name"] for each in client.get("/v2/models/stats").json()["model_stats"]] == ["reviews"]


def test_a_version_that_cannot_be_loaded_is_not_ready(tmp_path: Path, archives: dict[str, Path]) -> None:
    services = served.services(tmp_path / "home")
    with served.client(services) as client:
        made = client.post("/v1/models/import?name=reviews", content=archives["sentiment"].read_bytes()).json()
        services.blobs.delete(made["digest"])
        failed = client.post("/v2/models/reviews/infer", json=ASKED)
        assert (failed.status_code, list(failed.json()), "retry-after" in failed.headers) == (503, ["error"], True)
        assert client.get("/v2/models/reviews/ready").status_code == 409
        (indexed,) = client.post("/v2/repository/index").json()
        assert indexed["state"] == "UNAVAILABLE"
        assert indexed["reason"].startswith("it cannot be loaded: ")


def test_keys_and_scopes_hold_here_too(tmp_path: Path) -> None:
    services = served.services(tmp_path / "home")
    with served.client(services) as client:
        predict = {"Authorization": f"Bearer {services.keys.create('app', ['predict'])}"}
        unknown = client.get("/v2/models/x")
        assert (unknown.status_code, list(unknown.json())) == (401, ["error"])
        assert unknown.headers["www-authenticate"] == "Bearer"
        assert client.get("/v2/models/x", headers=predict).status_code == 404
        refused = client.post("/v2/repository/models/x/load", headers=predict)
        assert refused.json() == {"error": "this key may predict; the scope 'admin' is needed"}
        assert client.get("/v2/health/live").status_code == 200
