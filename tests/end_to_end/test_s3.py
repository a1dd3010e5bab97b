"""API and worker with a home each, that share a database and a bucket alone: uploaded, trained, served, swept."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.blobs import open_blobs
from app.db.engine import Database
from app.services import housekeeping
from app.services.housekeeping import HouseKeeping
from app.settings import Settings
from tests.end_to_end.test_spine import submit
from tests.s3 import Store
from tests.service import ROOT, running


@contextmanager
def worker(home: Path, **settings: str) -> Iterator[None]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CELLGATE_")}
    environment = {**kept, "CELLGATE_HOME": str(home), **settings}
    with (home.parent / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "worker"], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(15)


@pytest.mark.postgres
def test_api_and_worker_share_nothing_but_database_and_bucket(
    postgres: Callable[[str], str], postgres_template: str, s3: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, url = s3.bucket(), postgres(postgres_template)
    shared = {"CELLGATE_DATABASE_URL": url, "CELLGATE_BLOBS": address}
    here, there = tmp_path / "here", tmp_path / "there"
    with running(here, CELLGATE_WORKERS="0", **shared) as service:
        job = submit(service, "sentiment")
        with worker(there, **shared):
            view = service.ended(job, within=100)
        assert view["state"] == "succeeded", view["error"]
        answer = service.http.post("/v1/sentiment", json={"inputs": ["I loved this movie!"]})
        assert answer.status_code == 200, answer.text
        version = "/v1/models/our-sentiment/versions/1"
        artifact = service.http.get(f"{version}/artifact")
        assert artifact.headers["ETag"].strip('"') == service.http.get(version).json()["digest"]
        assert service.http.get("/health/ready").status_code == 200
    assert s3.environment["AWS_SECRET_ACCESS_KEY"] not in (tmp_path / "worker.log").read_text()
    assert not [path for home in (here, there) for path in home.rglob("blobs/*")]
    assert not [key for key in s3.keys(address) if "incoming" in key]
    blobs = open_blobs(address)
    (tmp_path / "orphan").write_bytes(b"nobody names this")
    blobs.put(tmp_path / "orphan")
    monkeypatch.setattr(housekeeping, "YOUNG", -60.0)
    database = Database(url)
    swept = HouseKeeping(database, blobs, Settings(home=tmp_path)).sweep()
    database.close()
    assert swept.blobs == 2, "the orphan, and the last checkpoint of a training that ended"
    assert len(s3.keys(address)) == 2, "the rows and the version"
