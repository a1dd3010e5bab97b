"""Jobs over HTTP: queued once, watched without a gap, steered where their state allows it. No worker runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.db.engine import Database
from app.errors import Conflict
from app.factory import Services, create_app
from app.main import build
from app.services.answers import IN_FLIGHT, Answer, Answers
from app.settings import Settings
from tests.app.served import trained

ROWS = "".join(f'{{"text": "text {i}", "label": "{"ab"[i % 2]}"}}\n' for i in range(20))
ORDER = {"kind": "train", "task": "sentiment", "dataset": "opinions", "model": "reviews"}


@pytest.fixture
def services(tmp_path: Path, database_url: str) -> Services:
    return build(Settings(home=tmp_path, database_url=database_url))


@pytest.fixture
def client(services: Services) -> Iterator[TestClient]:
    """A service with one data set, on each database."""
    with TestClient(create_app(services), raise_server_exceptions=False) as opened:
        posted = opened.post(
            "/v1/datasets?task=sentiment&name=opinions", content=ROWS, headers={"content-type": "application/x-ndjson"}
        )
        assert posted.status_code == 201, posted.text
        yield opened


def test_a_job_is_queued_listed_steered_and_deleted(client: TestClient) -> None:
    posted = client.post("/v1/jobs", json=ORDER)
    job = posted.json()
    here = posted.headers["location"]
    assert (posted.status_code, here, job["state"]) == (202, f"/v1/jobs/{job['id']}", "queued")
    assert job["created_at"].endswith("Z")
    assert client.get(here).json() == job
    assert client.get("/v1/jobs?state=queued&task=sentiment&model=reviews&kind=train").json()["items"] == [job]
    assert client.get("/v1/jobs?state=running").json()["items"] == []
    assert client.delete(here).status_code == 409, "it has not ended"
    assert client.post(f"{here}/retry").status_code == 409
    assert client.post(f"{here}/pause").json()["state"] == "paused"
    assert client.post(f"{here}/resume").json()["state"] == "queued"
    assert client.post(f"{here}/cancel").json()["state"] == "cancelled"
    assert 'cellgate_jobs{state="cancelled"} 1.0' in client.get("/metrics").text
    assert client.delete(here).status_code == 204
    assert client.get(here).status_code == 404
    assert 'cellgate_jobs{state="cancelled"} 0.0' in client.get("/metrics").text


def test_what_the_data_set_is_suspected_of_is_said_with_the_job(client: TestClient) -> None:
    row = '{"text": "the same", "label": "a", "split": "%s"}\n'
    content = row % "train" + row % "test" + '{"text": "other", "label": "b", "split": "train"}\n'
    headers = {"content-type": "application/x-ndjson"}
    client.post("/v1/datasets?task=sentiment&name=leaky", content=content, headers=headers).raise_for_status()
    here = client.post("/v1/jobs", json={**ORDER, "dataset": "leaky"}).headers["location"]
    told = {line["text"]: line["level"] for line in client.get(f"{here}/logs").json()["items"]}
    assert set(told.values()) == {"warning"}
    assert any("1 of 1 rows of test are in train as well: scores flatter; leave" in text for text in told)
    assert any("the label 'b' has one row" in text for text in told)


def test_events_resume_without_a_gap_or_a_repeat_and_end(client: TestClient) -> None:
    here = client.post("/v1/jobs", json=ORDER).headers["location"]
    for verb in ("pause", "resume", "cancel"):
        client.post(f"{here}/{verb}")
    every = _events(client, here)
    assert [state for _, state in every] == ["queued", "paused", "queued", "cancelled"]
    for seen, (number, _) in enumerate(every, start=1):
        assert _events(client, here, after=number) == every[seen:]
    for wrong in ("-1", "x", "9" * 40):
        assert client.get(f"{here}/events", headers={"Last-Event-ID": wrong}).status_code == 422
    assert client.get("/v1/jobs/job_none/events").status_code == 404


def _events(client: TestClient, here: str, *, after: str | None = None) -> list[tuple[str, str]]:
    """The id and the state of each event of an ended job."""
    headers = {} if after is None else {"Last-Event-ID": after}
    with client.stream("GET", f"{here}/events", headers=headers) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        blocks = [
            dict(line.split(": ", 1) for line in block.splitlines())
            for block in stream.read().decode().split("\n\n")
            if block
        ]
    return [(block["id"], block["data"].partition('"state":"')[2].partition('"')[0]) for block in blocks]


def test_the_same_key_and_body_is_one_job(client: TestClient) -> None:
    once = {"Idempotency-Key": "k"}
    first, again = (client.post("/v1/jobs", json=ORDER, headers=once) for _ in range(2))
    assert (again.status_code, again.json(), again.headers["location"]) == (
        202,
        first.json(),
        first.headers["location"],
    )
    assert len(client.get("/v1/jobs").json()["items"]) == 1
    assert client.post("/v1/jobs", json={**ORDER, "model": "other"}, headers=once).status_code == 422
    refused = {"Idempotency-Key": "refused"}
    assert client.post("/v1/jobs", json={**ORDER, "dataset": "none"}, headers=refused).status_code == 404
    assert client.post("/v1/jobs", json=ORDER, headers=refused).status_code == 202, "a refusal is not kept"


def test_a_key_in_flight_is_a_conflict_until_it_is_lost(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers(database)
    said = Answer(status=202, body={}, location=None)

    def ask() -> Answer:
        return answers.once("k", route="r", owner="", digest="d", work=lambda: said)

    def first() -> Answer:
        with pytest.raises(Conflict, match="in flight"):
            ask()
        with monkeypatch.context() as later:
            moment = database.now
            later.setattr(database, "now", lambda session: moment(session) + IN_FLIGHT + timedelta(seconds=1))
            assert ask() == said, "a process that crashed does not hold its key for ever"
        return said

    assert answers.once("k", route="r", owner="", digest="d", work=first) == said


def test_a_page_follows_the_page_before(client: TestClient) -> None:
    made = [client.post("/v1/jobs", json={**ORDER, "model": f"m{i}"}).json()["id"] for i in range(5)]
    seen, token = [], ""
    while True:
        page = client.get(f"/v1/jobs?page_size=2&page_token={token}").json()
        seen += [job["id"] for job in page["items"]]
        token = page["next_page_token"]
        if not token:
            break
    assert sorted(seen) == sorted(made)
    assert seen == made[::-1]


def test_a_comparison_is_one_job_that_tells_of_its_children(client: TestClient) -> None:
    asked = {**ORDER, "kind": "compare", "cells": ["lstm", "gru"], "seeds": 2}
    posted = client.post("/v1/jobs", json=asked)
    assert posted.status_code == 202, posted.text
    job, here = posted.json(), posted.headers["location"]
    assert [child["varies"] for child in job["children"]] == [
        {"cell": cell, "seed": seed} for seed in (0, 1) for cell in ("lstm", "gru")
    ]
    assert client.get("/v1/jobs").json()["items"] == [job], "children do not clutter the list"
    children = client.get(f"/v1/jobs?parent={job['id']}").json()["items"]
    assert {child["id"] for child in children} == {child["id"] for child in job["children"]}
    assert {child["parent"] for child in children} == {job["id"]}
    child = f"/v1/jobs/{children[0]['id']}"
    assert client.post(f"{child}/cancel").status_code == client.delete(child).status_code == 409
    plot = client.get(f"{here}/plot.png")
    assert (plot.status_code, "learns in its children" in plot.json()["detail"]) == (409, True)
    assert client.post(f"{here}/cancel").json()["state"] == "cancelled"
    assert client.get(child).json()["state"] == "cancelled"
    assert client.delete(here).status_code == 204
    assert client.get(child).status_code == 404


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"cells": ["lstm", "lstm"]}, "/cells"),
        ({"cells": ["lstm", "transformer"]}, "/cells/1"),
        ({"cells": []}, "/cells"),
        ({"seeds": 0}, "/seeds"),
        ({"trials": 3}, "/trials"),
        ({"kind": "dream"}, ""),
        ({"kind": 3}, ""),
    ],
)
def test_a_comparison_that_cannot_be_is_refused_with_its_place(
    client: TestClient, change: dict[str, object], pointer: str
) -> None:
    asked = {**ORDER, "kind": "compare", "cells": ["lstm", "gru"], **change}
    refused = client.post("/v1/jobs", json=asked)
    assert refused.status_code == 422
    assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]
    assert client.get("/v1/jobs").json()["items"] == []


def test_a_study_is_one_job_and_a_search_that_cannot_be_is_refused_with_its_place(client: TestClient) -> None:
    asked = {**ORDER, "kind": "tune", "search": {"hidden": [8, 16], "lr": {"low": 1e-4, "high": 1e-2}}, "trials": 3}
    posted = client.post("/v1/jobs", json=asked)
    assert posted.status_code == 202, posted.text
    assert [child["varies"] for child in posted.json()["children"]] == [{"trial": number} for number in range(3)]
    for search, pointer in (
        ({"lr": {"low": 0, "high": 1}}, "/search/lr/low"),
        ({"lr": {"low": 1e-4}}, "/search/lr/high"),
        ({"lr": {"low": 1e-4, "high": 1, "steps": 3}}, "/search/lr/steps"),
        ({"lr": "much"}, "/search/lr"),
        ({"hidden": []}, "/search/hidden"),
        ({}, "/search"),
    ):
        refused = client.post("/v1/jobs", json={**asked, "search": search})
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, pointer)
    assert client.post("/v1/jobs", json={**asked, "trials": 101}).status_code == 422
    assert len(client.get("/v1/jobs").json()["items"]) == 1


def test_a_warm_start_that_cannot_fit_is_refused_before_it_is_queued(client: TestClient, tmp_path: Path) -> None:
    assert client.post("/v1/jobs", json={**ORDER, "warm_start": "none"}).status_code == 404
    assert client.post("/v1/jobs", json={**ORDER, "warm_start": "no such:0"}).status_code == 422
    for task in ("sentiment", "forecasting"):
        made = client.post(f"/v1/models/import?name={task}", content=trained(task, tmp_path).read_bytes())
        assert made.status_code == 201, made.text
    other = client.post("/v1/jobs", json={**ORDER, "warm_start": "forecasting"})
    assert (other.status_code, "is for forecasting, not sentiment" in other.json()["detail"]) == (409, True)
    wide = client.post("/v1/jobs", json={**ORDER, "warm_start": "sentiment:1", "config": {"hidden": 99}})
    assert (wide.status_code, "set `config.hidden` to" in wide.json()["detail"]) == (409, True)
    assert client.get("/v1/jobs").json()["items"] == []


def test_an_evaluation_names_its_version_and_is_refused_where_it_cannot_be(client: TestClient, tmp_path: Path) -> None:
    order = {"kind": "evaluate", "model": "sentiment", "dataset": "opinions"}
    assert client.post("/v1/jobs", json=order).status_code == 404
    for task in ("sentiment", "forecasting"):
        made = client.post(f"/v1/models/import?name={task}", content=trained(task, tmp_path).read_bytes())
        assert made.status_code == 201, made.text
    assert client.post("/v1/jobs", json={**order, "dataset": "none"}).status_code == 404
    assert client.post("/v1/jobs", json={**order, "model": "forecasting"}).status_code == 409
    assert client.post("/v1/jobs", json={**order, "split": "all"}).status_code == 422
    queued = client.post("/v1/jobs", json=order)
    assert queued.status_code == 202
    asked = queued.json()["request"]
    assert asked == {**order, "model": "sentiment:1", "split": "test", "priority": 0}
