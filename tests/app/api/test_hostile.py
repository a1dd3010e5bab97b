"""What no client should send is refused in a problem, on both databases: never a 5xx, never a broken answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import structlog
from starlette.testclient import TestClient

from app.factory import Services, create_app
from app.main import build
from app.settings import Settings

JSON = {"content-type": "application/json"}
BIG = "9" * 40


@pytest.fixture
def client(tmp_path: Path, database_url: str) -> Iterator[TestClient]:
    """A service without models, on each database."""
    services = build(Settings(home=tmp_path, database_url=database_url, max_json=4096))
    with TestClient(create_app(services), raise_server_exceptions=False) as opened:
        yield opened


GETS = [
    "/v1/jobs/%00", "/v1/jobs/%00/events", "/v1/jobs?kind=%00", "/v1/jobs?model=%00&task=%00",
    "/v1/jobs?page_token=%00",     "/v1/datasets/%00", "/v1/datasets/%00/rows", "/v1/datasets?task=%00", "/v1/models/%00", "/v1/models?task=%00",
    "/v1/models/%00/versions", "/v1/models/%00/versions/1", "/v1/models/%00/history", "/v1/models/%00/stats",
    f"/v1/models/a:{BIG}/stats", f"/v1/models/a/versions/{BIG}", "/v1/vectors/%00", "/v1/tasks/%00", "/v1/jobs/%ff%fe",
    f"/v1/jobs?page_size={BIG}", "/v1/jobs?%00=1", "/v1/jobs/a%0d%0ab", "/v1/models/%F0%9F%98%80",
    f"/v1/models/{'a' * 5000}",
    "/v1/jobs?page_token=" + "A" * 400, "/v1/models?page_token=OTk5OS0xMi0zMVQyMzo1OTo1OS0yMzo1OXxh",
]  # fmt: skip


def _faults(answer: httpx.Response) -> str:
    """What is wrong with an answer to something hostile; "" if nothing is."""
    if answer.status_code == 200 and answer.json().get("items") == []:
        return ""
    problem = answer.headers["content-type"] == "application/problem+json" and "Traceback" not in answer.text
    return "" if 400 <= answer.status_code < 500 and problem else f"{answer.status_code} {answer.text}"


def test_no_address_is_a_5xx(client: TestClient) -> None:
    for path in GETS:
        faults = _faults(client.get(path))
        assert not faults, (path, faults)


BODIES = [
    ("POST", "/v1/sentiment", '{"inputs": ["\\ud800"]}'),
    ("POST", "/v1/sentiment", '{"inputs": ["x"], "model": "\\ud800"}'),
    ("POST", "/v1/sentiment", '{"inputs": ["x"], "model": "\\u0000"}'),
    ("POST", "/v1/sentiment", '{"inputs": ["x"], "\\ud800": 1}'),
    ("POST", "/v1/sentiment", '{"inputs": ["x"], "model": "a:' + BIG + '"}'),
    ("POST", "/v1/forecasting", '{"inputs": [{"values": [1, ' + "9" * 500 + "]}]}"),
    ("POST", "/v1/forecasting", '{"inputs": [{"values": [1, 1e400]}]}'),
    ("POST", "/v1/forecasting", '{"inputs": [{"values": [1, 2], "start": "\\u0000"}]}'),
    ("POST", "/v1/forecasting", '{"inputs": [{"values": [1, 2], "freq": "\\ud800"}]}'),
    ("POST", "/v1/forecasting", '{"inputs": [{"values": [1, 2], "start": "9999-12-31", "freq": "D"}]}'),
    ("POST", "/v1/jobs", '{"task": "sentiment", "dataset": "\\u0000", "model": "m"}'),
    ("POST", "/v1/jobs", '{"task": "sentiment", "dataset": "\\ud800", "model": "m"}'),
    ("POST", "/v1/jobs", '{"task": "sentiment", "dataset": "d", "model": "m", "config": {"\\ud800": 1}}'),
    ("POST", "/v1/jobs", '{"task": "sentiment", "dataset": "d", "model": "m", "config": {"vectors": "\\u0000"}}'),
    ("POST", "/v1/jobs", '{"task": "sentiment", "dataset": "d", "model": "m", "config": {"seed": ' + BIG + "}}"),
    ("POST", "/v1/jobs", '{"task": "sentiment", "dataset": "d", "model": "m", "priority": ' + "9" * 4000 + "}"),
    ("PUT", "/v1/tasks/sentiment/default", '{"model": "\\u0000"}'),
    ("PUT", "/v1/tasks/%00/default", '{"model": "a"}'),
    ("PUT", "/v1/models/%00/aliases/%00", '{"version": 1}'),
    ("PUT", "/v1/models/a/aliases/a", '{"version": ' + BIG + "}"),
    ("POST", "/v1/models/%00/rollback", '{"alias": "production"}'),
    ("POST", "/v1/models/%00/load", ""),
    ("POST", "/v1/models/%00/unload", ""),
    ("POST", "/v1/jobs/%00/cancel", ""),
    ("DELETE", "/v1/jobs/%00", ""),
    ("DELETE", "/v1/datasets/%00", ""),
    ("DELETE", "/v1/vectors/%00", ""),
    ("DELETE", "/v1/models/%00/versions/1", ""),
    ("POST", "/v1/models/import?name=%00", "x"),
    ("POST", "/v1/models/import?name=a", "x"),
    ("POST", "/v1/datasets?task=%00&name=a", "{}"),
    ("POST", "/v1/vectors?name=%00", "a 1"),
    ("POST", "/v1/sentiment", "[" * 4000),
    ("POST", "/v1/sentiment", '{"a":' * 800),
    ("POST", "/v1/sentiment", "null"),
    ("POST", "/v1/sentiment", ""),
]


def test_no_body_is_a_5xx(client: TestClient) -> None:
    for method, path, body in BODIES:
        faults = _faults(client.request(method, path, content=body.encode(), headers=JSON))
        assert not faults, (method, path, body[:99], faults)


def test_no_header_is_a_5xx(client: TestClient) -> None:
    body = '{"task": "sentiment", "dataset": "x", "model": "m"}'
    for name, value in (
        ("Idempotency-Key", b"\xff\xfe"),
        ("Idempotency-Key", b""),
        ("Idempotency-Key", b"k" * 500),
        ("Authorization", b"Bearer \xff"),
        ("Content-Type", b"application/json; charset=utf-99"),
        ("Content-Type", b"text/plain"),
    ):
        faults = _faults(client.post("/v1/jobs", content=body, headers={**JSON, name.lower(): value}))
        assert not faults, (name, value, faults)


def test_the_limit_holds_for_a_body_that_names_no_length(client: TestClient) -> None:
    answer = client.post("/v1/sentiment", content=iter([b"[" * 1024] * 8), headers=JSON)
    assert answer.status_code == 413
    assert answer.json()["type"] == "/problems/too-large"


def test_a_pointer_is_a_json_pointer_into_the_body(client: TestClient) -> None:
    for body, pointer in (
        ('{"inputs": ["x"], "A/b~c": 1}', "/A~1b~0c"),
        ('{"inputs": [{"text": "x", "Extra-1": 1}]}', "/inputs/0/Extra-1"),
        ('{"inputs": [{}]}', "/inputs/0/text"),
        ("{}", "/inputs"),
        ("[]", ""),
        ("{", ""),
    ):
        errors = client.post("/v1/sentiment", content=body, headers=JSON).json()["errors"]
        assert pointer in [each["pointer"] for each in errors], (body, errors)


def test_an_unforeseen_error_shows_its_request_id_and_nothing_else(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("a secret at /some/path")

    services: Services = client.app.state.services  # type: ignore[attr-defined]
    monkeypatch.setattr(services.jobs, "list", broken)
    with structlog.testing.capture_logs() as logged:
        answer = client.get("/v1/jobs", headers={"X-Request-ID": "mine"})
    assert answer.status_code == 500
    assert {"mine"} == {line["request_id"] for line in logged}
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "mine"
    assert "secret" not in answer.text


def test_a_key_answers_for_itself_alone(client: TestClient) -> None:
    services: Services = client.app.state.services  # type: ignore[attr-defined]
    mine, other = (services.keys.create(name, ["admin"]) for name in "ab")
    assert client.get("/v1/jobs", headers={"Authorization": f"Bearer {mine}"}).status_code == 200
    forged = f"cg_{other.split('_')[1]}_{mine.split('_', 2)[2]}"
    assert client.get("/v1/jobs", headers={"Authorization": f"Bearer {forged}"}).status_code == 401


def test_what_is_not_allowed_says_what_is(client: TestClient) -> None:
    for path, allowed in (("/v1/jobs", "GET, POST"), ("/v1/jobs/x", "DELETE, GET"), ("/v1/jobs/x/cancel", "POST")):
        answer = client.put(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
