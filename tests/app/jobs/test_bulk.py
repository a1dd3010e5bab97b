"""Bulk predictions by real workers that are killed, on both databases, over HTTP."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.testclient import TestClient

from app.services.registry import Reference
from tests.app import served
from tests.app.jobs.test_loop import child_of, worker
from tests.app.jobs.test_prediction import Worker, ordered

pytestmark = pytest.mark.timeout(400)

ROWS = 8_000
"""So many that a worker is busy for seconds."""
NDJSON = {"Content-Type": "application/x-ndjson"}
TAUGHT = b"".join(
    orjson.dumps({"text": f"a {label} one", "label": label, "split": "train"}) + b"\n" for label in ("good", "bad")
)


@pytest.fixture
def service(tmp_path: Path, archives: dict[str, Path], database_url: str) -> Iterator[TestClient]:
    """A service without a worker, with a model and many rows to ask it about."""
    made = served.services(tmp_path / "home", database_url=database_url)
    with served.client(made) as http:
        http.post("/v1/models/import?name=reviews", content=archives["sentiment"].read_bytes()).raise_for_status()
        rows = b"".join(
            orjson.dumps({"text": f"a fine film, the {n}th of its kind", "label": "positive", "split": "test"}) + b"\n"
            for n in range(ROWS)
        )
        sent = http.post("/v1/datasets?task=sentiment&name=many", content=rows + TAUGHT, headers=NDJSON)
        sent.raise_for_status()
        yield http


def submit(http: TestClient, kind: str = "predict", **more: Any) -> str:
    made = http.post("/v1/jobs", json={"kind": kind, "model": "reviews", "dataset": "many", **more})
    assert made.status_code == 202, made.text
    assert made.json()["request"]["model"] == "reviews:1"
    return str(made.json()["id"])


def until(http: TestClient, job: str, true: Callable[[dict[str, Any]], object], seconds: float = 120) -> dict[str, Any]:
    end = time.monotonic() + seconds
    while True:
        view: dict[str, Any] = http.get(f"/v1/jobs/{job}").json()
        if true(view):
            return view
        assert view["error"] is None, view["error"]
        assert time.monotonic() < end, view
        time.sleep(0.02)


def in_state(*states: str) -> Callable[[dict[str, Any]], bool]:
    return lambda view: view["state"] in states


def gets_on(http: TestClient, job: str) -> None:
    def place(view: dict[str, Any]) -> int:
        kept = view["checkpoint"] or {}
        return kept.get("row") or kept.get("step") or 0

    before = place(http.get(f"/v1/jobs/{job}").json())
    until(http, job, lambda view: place(view) > before)


def test_killed_and_paused_it_gives_the_bytes_of_an_undisturbed_one(
    service: TestClient, database_url: str, archives: dict[str, Path], tmp_path: Path
) -> None:
    settings = service.app.state.services.settings  # type: ignore[attr-defined]
    job = submit(service)
    assert service.get(f"/v1/jobs/{job}/result").status_code == 409
    with worker(settings, database_url) as process:
        gets_on(service, job)
        child_of(process).send_signal(signal.SIGKILL)
        gets_on(service, job)
        service.post(f"/v1/jobs/{job}/pause").raise_for_status()
        until(service, job, in_state("paused"))
        service.post(f"/v1/jobs/{job}/resume").raise_for_status()
        view = until(service, job, in_state("succeeded"))
    assert view["resumed_from"]["row"] > 0
    result = view["result"]
    assert (result["rows"], result["failed"], result["version"]) == (ROWS + 2, 0, 1)
    rows = service.app.state.services.datasets.local_rows("many", tmp_path)  # type: ignore[attr-defined]
    whole = Worker(ordered("sentiment", archives, rows, tmp_path, params={"top_k": None}))
    whole.run()
    answer = service.get(result["href"])
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"' == f'"{result["digest"]}"'
    assert answer.content == whole.lines
    assert len(answer.content) == result["bytes"]
    assert service.get(result["href"], headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    assert service.delete(f"/v1/jobs/{job}").status_code == 204
    assert service.get(f"/v1/jobs/{job}/result").status_code == 404


@pytest.mark.parametrize(
    ("asked", "status", "pointer"),
    [
        ({"split": "validation"}, 422, "/split"),
        ({"params": {"top_k": 0}}, 422, "/params/top_k"),
        ({"params": {"beam": 4}}, 422, "/params/beam"),
        ({"model": "nobody"}, 404, None),
        ({"dataset": "none"}, 404, None),
    ],
)
def test_what_cannot_be_asked_is_refused_before_it_is_queued(
    client: TestClient, asked: dict[str, Any], status: int, pointer: str | None
) -> None:
    client.post("/v1/datasets?task=sentiment&name=few", content=TAUGHT, headers=NDJSON).raise_for_status()
    answer = client.post("/v1/jobs", json={"kind": "predict", "model": "reviews", "dataset": "few", **asked})
    assert answer.status_code == status
    assert [flaw["pointer"] for flaw in answer.json().get("errors", [])] == ([pointer] if pointer else [])


def test_a_version_that_a_job_needs_stays(client: TestClient, archives: dict[str, Path]) -> None:
    client.post("/v1/datasets?task=sentiment&name=few", content=TAUGHT, headers=NDJSON).raise_for_status()
    for name in ("sentiment", "sentiment2"):
        client.post("/v1/models/import?name=twice", content=archives[name].read_bytes()).raise_for_status()
    client.put("/v1/models/twice/aliases/production", json={"version": 2}).raise_for_status()
    asked = {"dataset": "few", "task": "sentiment"}
    begun = client.app.state.services.registry.resolve(Reference.parse("twice:1")).config  # type: ignore[attr-defined]
    for body in (
        {"kind": "predict", "model": "twice:1", "dataset": "few"},
        {"kind": "train", "model": "other", "warm_start": "twice:1", "config": begun, **asked},
    ):
        job = client.post("/v1/jobs", json=body).raise_for_status().json()["id"]
        refused = client.delete("/v1/models/twice/versions/1")
        assert (refused.status_code, refused.json()["detail"]) == (
            409,
            f"the job {job} still needs version 1; cancel it or let it end",
        )
        client.post(f"/v1/jobs/{job}/cancel").raise_for_status()
    assert client.delete("/v1/models/twice/versions/1").status_code == 204


def test_items_without_answers_are_asked_and_never_learnt_from(client: TestClient) -> None:
    content = b'{"text": "fine"}\n{"text": "dull"}\n'
    sent = client.post("/v1/datasets?task=sentiment&name=asked&of=items", content=content, headers=NDJSON)
    assert (sent.status_code, sent.json()["rows"]) == (201, 2)
    assert client.get("/v1/datasets/asked/rows").json()["items"] == [{"text": "fine"}, {"text": "dull"}]
    common = {"dataset": "asked", "model": "reviews"}
    assert client.post("/v1/jobs", json={"kind": "predict", **common}).status_code == 202
    assert client.post("/v1/jobs", json={"kind": "evaluate", **common}).status_code == 422
    refused = client.post("/v1/jobs", json={"kind": "train", "task": "sentiment", **common})
    assert (refused.status_code, "holds items without answers" in refused.json()["detail"]) == (409, True)
