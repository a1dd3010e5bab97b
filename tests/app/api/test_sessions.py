"""Sessions over HTTP: the answers of the whole sequence, one owner, an end, a bound, and errors with their places."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.clock import HandClock
from app.errors import Limited
from app.factory import Services
from app.serving.batcher import Batcher
from models import artifact
from models.stream import Stepper
from models.tasks.forecasting.schema import Step
from tests.app import served

VALUES: list[Any] = [112, 118, 132, None, 121, 135, 148, 148, 136, 119, 104, 118]
TTL = 60.0


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def services(tmp_path: Path, clock: HandClock) -> Services:
    return served.services(
        tmp_path / "home", clock=clock, session_seconds=TTL, max_sessions=3, max_inputs=20, streams=1
    )


@pytest.fixture
def http(services: Services, archives: dict[str, Path]) -> Iterator[TestClient]:
    with served.client(services) as opened:
        for name, task in (("reviews", "sentiment"), ("sales", "forecasting")):
            made = opened.post(f"/v1/models/import?name={name}", content=archives[task].read_bytes())
            assert made.status_code == 201, made.text
        yield opened


def begun(http: TestClient, **asked: Any) -> str:
    answer = http.post("/v1/sessions", json={"model": "sales", **asked})
    assert answer.status_code == 201, answer.text
    id: str = answer.json()["id"]  # noqa: A001
    assert answer.headers["location"] == f"/v1/sessions/{id}"
    return id


def steps(http: TestClient, id: str, *inputs: Any, **asked: Any) -> Any:  # noqa: A002
    return http.post(f"/v1/sessions/{id}/steps", json={"inputs": list(inputs)}, **asked)


def refused(answer: Any, status: int, sentence: str, *pointers: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert sentence in answer.text
    assert [each["pointer"] for each in answer.json().get("errors", [])] == list(pointers)


def test_the_answers_are_those_of_the_whole_series(http: TestClient) -> None:
    params, item = {"horizon": 3, "quantiles": [0.25, 0.5]}, {"freq": "M", "start": "2024-01-01T00:00:00Z"}
    id = begun(http, params=params, item=item)  # noqa: A001
    outputs = steps(http, id, *VALUES[:2]).json()["outputs"] + steps(http, id, *VALUES[2:]).json()["outputs"]
    for count in (1, 4, 12):
        whole = {"inputs": [{"values": VALUES[:count], **item}], "params": params}
        expected = http.post("/v1/forecasting", json=whole).json()["outputs"][0]
        found = outputs[count - 1]
        assert found["timestamps"] == expected["timestamps"]
        assert found["mean"] == pytest.approx(expected["mean"], rel=1e-5)
        assert found["quantiles"]["0.25"] == pytest.approx(expected["quantiles"]["0.25"], rel=1e-5)
    assert steps(http, begun(http), None).json()["outputs"] == [None]


def test_a_session_says_where_it_stands(http: TestClient, clock: HandClock) -> None:
    id = begun(http)  # noqa: A001
    told = steps(http, id, 1, 2).json()
    assert told["model"] == {"name": "sales", "version": 1, "task": "forecasting"}
    assert (told["steps"], told["expires_at"]) == (2, "2026-01-01T00:01:00Z")
    clock.move(TTL / 2)
    seen = http.get(f"/v1/sessions/{id}").json()
    assert (seen["steps"], seen["expires_at"]) == (2, "2026-01-01T00:01:00Z")
    assert seen["bytes"] > 2 * 8
    assert "cellgate_sessions 1.0" in http.get("/metrics").text


def test_one_not_used_for_its_time_is_gone(http: TestClient, clock: HandClock, services: Services) -> None:
    id = begun(http)  # noqa: A001
    clock.move(TTL - 1)
    assert steps(http, id, 1).status_code == 200
    clock.move(TTL - 1)
    assert http.get(f"/v1/sessions/{id}").status_code == 200
    clock.move(2)
    for answer in (http.get(f"/v1/sessions/{id}"), steps(http, id, 1), http.post(f"/v1/sessions/{id}/fork")):
        refused(answer, 410, "the session is over")
    assert (len(services.sessions), services.sessions.bytes) == (0, 0)


def test_one_that_is_deleted_is_gone_and_frees_what_it_held(http: TestClient, services: Services) -> None:
    id = begun(http)  # noqa: A001
    steps(http, id, 1)
    assert http.delete(f"/v1/sessions/{id}").status_code == 204
    refused(http.delete(f"/v1/sessions/{id}"), 410, "the session is over")
    assert services.sessions.bytes == 0


def test_one_that_never_was_is_not_found_and_one_of_another_process_is_told(http: TestClient) -> None:
    id = begun(http)  # noqa: A001
    for unknown in ("nothing", "sess_", f"{id[:-1]}{'0' if id[-1] != '0' else '1'}"):
        refused(http.get(f"/v1/sessions/{unknown}"), 404, "no session")
    refused(http.get(f"/v1/sessions/sess_00000000{id[13:]}"), 410, "this process does not know the session")


def test_the_least_recently_used_goes_when_there_are_too_many(http: TestClient) -> None:
    first, second, third = begun(http), begun(http), begun(http)
    steps(http, first, 1)
    fourth = begun(http)
    refused(steps(http, second, 1), 410, "the least recently used of too many")
    assert [steps(http, id, 1).status_code for id in (first, third, fourth)] == [200] * 3  # noqa: A001


def test_the_least_recently_used_goes_when_they_hold_too_much(tmp_path: Path, archives: dict[str, Path]) -> None:
    made = served.services(tmp_path / "home", session_bytes=2 * 600 + 200)
    with served.client(made) as http:
        http.post("/v1/models/import?name=sales", content=archives["forecasting"].read_bytes())
        first, second = begun(http), begun(http)
        assert steps(http, first, *range(4)).status_code == 200
        assert steps(http, second, *range(30)).status_code == 200
        refused(steps(http, first, 1), 410, "the session is over")
        assert made.sessions.bytes <= made.settings.session_bytes


def test_a_fork_goes_on_from_where_it_was_made(http: TestClient) -> None:
    id = begun(http)  # noqa: A001
    steps(http, id, *VALUES[:6])
    forked = http.post(f"/v1/sessions/{id}/fork")
    assert forked.status_code == 201
    assert forked.json()["steps"] == 6
    assert steps(http, id, 1e6).status_code == 200
    found = steps(http, forked.json()["id"], *VALUES[6:]).json()["outputs"][-1]["mean"]
    expected = http.post("/v1/forecasting", json={"inputs": [{"values": VALUES}]}).json()["outputs"][0]["mean"]
    assert found == pytest.approx(expected, rel=1e-5)


def test_what_cannot_be_stepped_through_is_a_conflict_with_the_reason(http: TestClient) -> None:
    reason = "its task is sentiment; sequences arrive step by step for"
    refused(http.post("/v1/sessions", json={"model": "reviews"}), 409, reason)
    refused(http.post("/v1/sessions", json={"model": "nothing"}), 404, "no model 'nothing'")


def test_what_a_training_exports_goes_on_step_by_step(http: TestClient, archives: dict[str, Path]) -> None:
    http.post("/v1/models/import?name=moves", content=archives["sequences"].read_bytes())
    item = http.get("/v1/tasks/sequences").json()["examples"][0]
    id = begun(http, model="moves", params={"top_k": 2})  # noqa: A001
    found = [steps(http, id, step).json()["outputs"][0] for step in item["values"]][-1]
    expected = http.post("/v1/sequences", json={"inputs": [item], "params": {"top_k": 2}}).json()["outputs"][0]
    assert found["label"] == expected["label"]
    assert found["scores"] == pytest.approx(expected["scores"], abs=1e-5)


def test_a_version_older_than_sessions_is_a_conflict(
    http: TestClient, archives: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    artifact.unpack(archives["sequences"], folder)
    card = json.loads((folder / "card.json").read_text())
    for name in ("net.advance.onnx", "net.start.onnx", "net.label.onnx"):
        (folder / name).unlink()
        del card["files"][name]
    (folder / "card.json").write_text(json.dumps(card))
    artifact.pack(folder, tmp_path / "old.zip")
    made = http.post("/v1/models/import?name=old", content=(tmp_path / "old.zip").read_bytes())
    assert made.status_code == 201, made.text
    items = http.get("/v1/tasks/sequences").json()["examples"]
    assert http.post("/v1/sequences", json={"model": "old", "inputs": items}).status_code == 200
    refused(http.post("/v1/sessions", json={"model": "old"}), 409, "train again")


def test_faults_are_named_by_their_place(http: TestClient) -> None:
    id = begun(http)  # noqa: A001
    refused(steps(http, id, 1, {"value": "x"}, "y"), 422, "", "/inputs/1/value", "/inputs/2")
    refused(steps(http, id), 422, "", "/inputs")
    refused(http.post("/v1/sessions", json={"model": "sales", "item": {"freq": "x"}}), 422, "", "/item/freq")
    refused(http.post("/v1/sessions", json={"model": "sales", "params": {"more": 1}}), 422, "", "/params/more")
    asked = {"model": "sales", "params": {"horizon": 1000}}
    refused(http.post("/v1/sessions", json=asked), 422, "beyond the 4 steps", "/params/horizon")
    refused(steps(http, id, *range(21)), 413, "21 inputs in one request; at most 20")
    assert http.get(f"/v1/sessions/{id}").json()["steps"] == 0


async def in_a_stream(*_: object) -> bool:
    return False


def test_a_deadline_that_passes_leaves_the_session_as_it_was(http: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    id = begun(http)  # noqa: A001
    steps(http, id, 1)
    monkeypatch.setattr(Stepper, "answer", lambda *_: time.sleep(0.2))
    monkeypatch.setattr(Batcher, "_alone", in_a_stream)  # what is answered at once is never late
    refused(steps(http, id, 2, headers={"X-Deadline-Ms": "50"}), 504, "deadline")
    monkeypatch.undo()
    assert steps(http, id, 2).json()["steps"] == 2


def test_a_session_stays_with_its_version_until_that_is_deleted(http: TestClient, archives: dict[str, Path]) -> None:
    id = begun(http)  # noqa: A001
    before = steps(http, id, *VALUES[:6]).json()["outputs"]
    again = http.post("/v1/models/import?name=sales", content=archives["forecasting2"].read_bytes())
    assert again.json()["version"] == 2
    http.put("/v1/models/sales/aliases/production", json={"version": 2})
    moved = steps(http, begun(http), *VALUES[:6]).json()
    assert moved["model"]["version"] == 2
    assert moved["outputs"] != before
    told = steps(http, id, VALUES[6]).json()
    expected = http.post("/v1/forecasting", json={"model": "sales:1", "inputs": [{"values": VALUES[:7]}]}).json()
    assert told["model"]["version"] == 1
    assert told["outputs"][0]["mean"] == pytest.approx(expected["outputs"][0]["mean"], rel=1e-5)
    assert http.delete("/v1/models/sales/versions/1").status_code == 204
    refused(steps(http, id, 1), 410, "version 1 of 'sales', which the session began on, was deleted")


def test_another_key_does_not_find_it(http: TestClient, services: Services, clock: HandClock) -> None:
    one, other = ({"Authorization": f"Bearer {services.keys.create(name, ['predict'])}"} for name in ("one", "other"))
    id = http.post("/v1/sessions", json={"model": "sales"}, headers=one).json()["id"]  # noqa: A001
    assert steps(http, id, 1, headers=one).status_code == 200
    for expired in (False, True):
        refused(steps(http, id, 1, headers=other), 404, "no session")
        refused(http.delete(f"/v1/sessions/{id}", headers=other), 404, "no session")
        refused(http.post(f"/v1/sessions/{id}/fork", headers=other), 404, "no session")
        assert http.get(f"/v1/sessions/{id}", headers=one).status_code == (410 if expired else 200)
        clock.move(TTL + 1)


def test_requests_of_one_session_take_turns_and_those_of_several_share_batches(
    services: Services, http: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, sizes = [begun(http) for _ in range(3)], []
    answer = Stepper.answer

    def slow(self: Stepper, examples: Any, params: Any) -> Any:
        sizes.append(len(examples))
        time.sleep(0.05)
        return answer(self, examples, params)

    monkeypatch.setattr(Stepper, "answer", slow)
    sessions = services.sessions

    async def asked() -> list[int]:
        soon = time.monotonic() + 10
        works = [sessions.advance(id, [Step(value=n)], owner="", deadline=soon) for n in range(5) for id in ids]  # noqa: A001
        return [view.steps for view, _ in await asyncio.gather(*works)]

    assert http.portal is not None
    counts = http.portal.call(asked)
    assert counts == [n for n in range(1, 6) for _ in ids]
    assert max(sizes) > 1
    assert sum(sizes) == 15
    assert http.get("/v1/models/sales/stats").json()["requests"] == 15

    async def crowded() -> list[Any]:
        works = [sessions.advance(ids[0], [Step(value=1)], owner="", deadline=time.monotonic() + 10) for _ in range(20)]
        return await asyncio.gather(*works, return_exceptions=True)

    told = http.portal.call(crowded)
    assert [str(each) for each in told if isinstance(each, Limited)] == [
        "16 requests of this session are waiting already"
    ] * 3
