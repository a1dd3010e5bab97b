"""Data sets and word vectors over HTTP: bodies and forms stream in, faults name lines, limits hold."""

import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn

from app.factory import create_app
from app.main import build
from app.settings import Settings

GOOD = "".join(json.dumps({"text": f"text {i}", "label": "ab"[i % 2]}) + "\n" for i in range(20)).encode()
JSONL = {"Content-Type": "application/x-ndjson; charset=utf-8"}
HERE = "/v1/datasets?task=sentiment&name=reviews"


@pytest.fixture
def client(tmp_path: Path, database_url: str) -> Iterator[httpx.Client]:
    """A client of a real server on a free port."""
    app = create_app(build(Settings(home=tmp_path, max_body=5000, database_url=database_url)))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        with httpx.Client(
            base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", trust_env=False, timeout=60
        ) as made:
            yield made
        server.should_exit = True
        thread.join()


def test_a_data_set_is_posted_looked_at_and_deleted(client: httpx.Client) -> None:
    posted = client.post(HERE, content=GOOD, headers=JSONL)
    view = posted.json()
    assert (posted.status_code, posted.headers["location"]) == (201, f"/v1/datasets/{view['id']}")
    assert view["digest"] == hashlib.sha256(GOOD).hexdigest()
    assert (view["bytes"], view["rows"], view["split_seed"]) == (len(GOOD), 20, 0)
    assert view["created_at"].endswith("Z")
    assert client.get(f"/v1/datasets/{view['id']}").json() == view
    assert client.get("/v1/datasets?task=sentiment").json() == {"items": [view], "next_page_token": ""}
    rows = client.get("/v1/datasets/reviews/rows?page_size=1").json()
    assert rows["items"][0]["text"] == "text 0"
    assert rows["next_page_token"]
    assert client.delete(f"/v1/datasets/{view['id']}").status_code == 204
    assert client.get(f"/v1/datasets/{view['id']}").status_code == 404


@pytest.mark.parametrize(
    ("filename", "given"), [("a.jsonl", "application/octet-stream"), ("a", "application/x-ndjson")]
)
def test_a_form_names_its_type_or_its_ending_does(client: httpx.Client, filename: str, given: str) -> None:
    posted = client.post(HERE, files={"file": (filename, GOOD, given)})
    assert posted.status_code == 201
    assert posted.json()["digest"] == hashlib.sha256(GOOD).hexdigest()


def test_faults_are_a_problem_with_lines(client: httpx.Client) -> None:
    posted = client.post(HERE, content=GOOD + b'{"text": NaN}\n' * 25, headers=JSONL)
    assert (posted.status_code, posted.headers["content-type"]) == (422, "application/problem+json")
    assert posted.json()["faults"] == 25
    assert [one["line"] for one in posted.json()["errors"]] == list(range(21, 41))
    assert client.get("/v1/datasets").json()["items"] == []


def test_the_limit_holds_with_and_without_a_declared_length(client: httpx.Client) -> None:
    big = b"x" * 6000
    assert client.post(HERE, content=big, headers=JSONL).status_code == 413
    assert client.post(HERE, content=iter([big[:3000], big[:3000]]), headers=JSONL).status_code == 413
    assert client.post(HERE, files={"file": ("a.jsonl", big)}).status_code == 413


@pytest.mark.parametrize(
    "sent",
    [
        {"content": GOOD, "headers": {"Content-Type": "image/png"}},
        {"content": GOOD},
        {"content": b"", "headers": JSONL},
        {"content": GOOD, "headers": {"Content-Type": "multipart/form-data"}},
        {"content": b"--x\r\nnonsense", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
        {"files": {"other": ("a.jsonl", GOOD)}},
        {"files": [("file", ("a.jsonl", GOOD)), ("file", ("b.jsonl", GOOD))]},
        {"data": {"file": "text"}, "files": {"more": b""}},
    ],
)
def test_what_is_no_file_is_refused(client: httpx.Client, sent: dict) -> None:
    assert client.post(HERE, **sent).status_code == 422


def test_a_key_makes_the_same_upload_once(client: httpx.Client) -> None:
    once = {"Idempotency-Key": "k1"} | JSONL
    first = client.post(HERE, content=GOOD, headers=once)
    assert client.post(HERE, content=GOOD, headers=once).json() == first.json()
    assert len(client.get("/v1/datasets").json()["items"]) == 1
    assert client.post(HERE, content=GOOD * 2, headers=once).status_code == 422


def test_a_data_set_without_a_name_is_called_by_its_id(client: httpx.Client) -> None:
    view = client.post("/v1/datasets?task=sentiment", content=GOOD, headers=JSONL).json()
    assert view["name"] == view["id"]


def test_wrong_queries_are_refused(client: httpx.Client) -> None:
    wrong = ("task=poetry&name=a", "name=a", "task=sentiment&name=A", "task=sentiment&name=a&seed=-1")
    for query in (*wrong, "task=sentiment&name=a&surprise=1"):
        assert client.post(f"/v1/datasets?{query}", content=GOOD, headers=JSONL).status_code == 422
    for token in ("x", "%00", "MjAyNg"):
        assert client.get(f"/v1/datasets?page_token={token}").status_code == 422


def test_word_vectors_are_posted_listed_and_deleted(client: httpx.Client) -> None:
    posted = client.post("/v1/vectors?name=small", content=b"good 0.1 2\nbad 1 2\n")
    assert (posted.status_code, posted.json()["words"], posted.json()["width"]) == (201, 2, 2)
    assert client.post("/v1/vectors?name=small", content=b"good 0.1 2\n").status_code == 409
    assert client.post("/v1/vectors?name=none", content=b"").status_code == 422
    assert client.get("/v1/vectors").json()["items"] == [posted.json()]
    assert client.delete("/v1/vectors/small").status_code == 204
    assert client.get("/v1/vectors/small").status_code == 404
