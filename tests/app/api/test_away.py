"""A store that goes away between the opening of a blob and its reading: whoever asks is told to come again."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

import app.blobs
from app.blobs import RemoteBlobs
from tests.app import served
from tests.s3 import serving

ROW = b'{"text": "good", "label": "a"}\n{"text": "bad", "label": "b"}\n'


def test_a_store_that_is_gone_once_a_blob_is_open_is_a_503(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, archives: dict[str, Path]
) -> None:
    monkeypatch.setitem(app.blobs.AWS, "retries", {"max_attempts": 0})
    with serving() as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        services = served.services(tmp_path / "home", blobs=store.bucket())
        with served.client(services) as client:
            _kept(client, archives["sentiment"])
            files = {digest: services.blobs.open(digest) for digest, _ in services.blobs.listed()}
            store.process.kill()
            store.process.wait()
            monkeypatch.setattr(RemoteBlobs, "open", lambda _, digest: files[digest])
            for path in ("/v1/models/sentiment/versions/1/artifact", "/v1/datasets/reviews/rows"):
                answer = client.get(path)
                assert (answer.status_code, answer.json()["type"]) == (503, "/problems/away"), answer.text
                assert answer.headers["Retry-After"] == "10"
        assert len(files) == 2
        assert [file.closed for file in files.values()] == [True, True]


def _kept(client: TestClient, archive: Path) -> None:
    sent = {"Content-Type": "application/x-ndjson"}
    assert client.post("/v1/datasets?task=sentiment&name=reviews", content=ROW * 20, headers=sent).status_code == 201
    assert client.post("/v1/models/import", content=archive.read_bytes()).status_code == 201
