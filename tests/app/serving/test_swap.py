"""Registering answers at once, moving an alias fails no request, rolling back is one call, hostile zips are refused."""

from __future__ import annotations

import io
import pickle
import threading
import zipfile
from pathlib import Path

from starlette.testclient import TestClient

ASK = {"inputs": ["I loved this movie!"], "model": "reviews"}


def post(client: TestClient, path: str, body: object) -> dict:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def imported(client: TestClient, archive: Path, promote: str = "never") -> dict:
    made = client.post(f"/v1/models/import?name=reviews&promote={promote}", content=archive.read_bytes())
    assert made.status_code == 201, made.text
    return made.json()


def test_a_registered_model_answers_at_once_and_is_the_default(client: TestClient) -> None:
    named, unnamed = post(client, "/v1/sentiment", ASK), post(client, "/v1/sentiment", {"inputs": ASK["inputs"]})
    assert named == unnamed
    assert named["model"] == {"name": "reviews", "version": 1, "task": "sentiment"}


def test_no_request_fails_and_none_is_mixed_while_versions_change(
    client: TestClient, archives: dict[str, Path]
) -> None:
    imported(client, archives["sentiment2"])
    expected = {
        version: post(client, "/v1/sentiment", {**ASK, "model": f"reviews:{version}"})["outputs"] for version in (1, 2)
    }
    assert expected[1] != expected[2]
    done, faults, seen = threading.Event(), [], set()

    def load() -> None:
        while not done.is_set():
            answer = client.post("/v1/sentiment", json=ASK)
            body = answer.json()
            if answer.status_code != 200 or body["outputs"] != expected[body["model"]["version"]]:
                faults.append(body)
                return
            seen.add(body["model"]["version"])

    callers = [threading.Thread(target=load) for _ in range(4)]
    for caller in callers:
        caller.start()
    for turn in range(30):
        moved = client.put("/v1/models/reviews/aliases/production", json={"version": 2 - turn % 2})
        assert moved.status_code == 200
        assert post(client, "/v1/sentiment", ASK)["model"]["version"] == 2 - turn % 2
    done.set()
    for caller in callers:
        caller.join(20)
    assert not faults
    assert seen == {1, 2}


def test_rolling_back_is_one_call_and_history_remembers(client: TestClient, archives: dict[str, Path]) -> None:
    assert imported(client, archives["sentiment2"], "always")["aliases"] == ["production"]
    assert post(client, "/v1/models/reviews/rollback", {"alias": "production"})["aliases"] == {"production": 1}
    assert client.post("/v1/models/reviews/rollback", json={"alias": "production"}).status_code == 409
    history = client.get("/v1/models/reviews/history").json()["items"]
    assert [(move["previous"], move["version"]) for move in history] == [(2, 1), (1, 2), (None, 1)]


def test_a_version_is_kept_while_an_alias_points_at_it(client: TestClient, archives: dict[str, Path]) -> None:
    imported(client, archives["sentiment2"])
    assert client.delete("/v1/models/reviews/versions/1").status_code == 409
    assert client.delete("/v1/models/reviews/versions/2").status_code == 204
    assert client.get("/v1/models/reviews/versions/2").status_code == 404


def test_an_artifact_comes_back_byte_for_byte(client: TestClient, archives: dict[str, Path]) -> None:
    first = client.get("/v1/models/reviews/versions/1/artifact")
    assert first.content == archives["sentiment"].read_bytes()
    again = client.get("/v1/models/reviews/versions/1/artifact", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_hostile_zips_are_refused_in_a_sentence(client: TestClient, archives: dict[str, Path]) -> None:
    with zipfile.ZipFile(archives["sentiment"]) as archive:
        honest = {name: archive.read(name) for name in archive.namelist()}
    hostile = {
        "traversal": zipped({**honest, "../../etc/passwd": b"x"}),
        "pickle": zipped({**honest, "weights.pkl": pickle.dumps({})}),
        "digest": zipped({**honest, "state.json": honest["state.json"] + b" "}),
        "missing": zipped({name: data for name, data in honest.items() if name != "weights.safetensors"}),
        "no zip": b"PK but not really",
        "empty": b"",
    }
    for name, content in hostile.items():
        answer = client.post("/v1/models/import?name=evil", content=content)
        assert answer.status_code == 422, name
        assert answer.headers["content-type"] == "application/problem+json"
        assert "Traceback" not in answer.text
    assert client.get("/v1/models/evil").status_code == 404
