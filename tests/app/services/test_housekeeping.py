"""What nobody needs goes, what somebody names stays: on both databases and in both kinds of store."""

from __future__ import annotations

import os
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from app.blobs import Blobs, open_blobs
from app.db.engine import Database
from app.db.repositories.leftovers import LeftoverRepository
from app.db.tables import Job, JobEvent
from app.jobs.queue import Queue
from app.services import housekeeping
from app.services.housekeeping import HouseKeeping
from app.services.jobs import Jobs
from app.settings import Settings
from tests.app.jobs.test_queue import add
from tests.offers import on_cpu


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture(params=["folder", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return open_blobs(f"file://{tmp_path}/kept" if request.param == "folder" else f"memory://{uuid.uuid4().hex}")


def put(blobs: Blobs, folder: Path, text: str) -> str:
    (folder / "file").write_text(text)
    return blobs.put(folder / "file")


def test_files_that_nothing_names_go_once_they_are_old(
    database: Database, blobs: Blobs, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphan, laid_down = put(blobs, tmp_path, "orphan"), put(blobs, tmp_path, "checkpoint")
    add(database, "job")
    queue = Queue(database, worker="one", lease_seconds=30)
    claim = queue.claim(on_cpu)
    assert claim is not None
    queue.checkpoint(claim, {"blob": laid_down, "bytes": 1, "epoch": 1, "step": 1})
    house = HouseKeeping(database, blobs, settings)
    assert house.sweep().blobs == 0
    monkeypatch.setattr(housekeeping, "YOUNG", -1.0)
    assert house.sweep().blobs == 1
    assert not blobs.exists(orphan)
    assert blobs.exists(laid_down)
    queue.succeed(claim, lambda _: {"made": [orphan, laid_down[:-1]]})
    assert house.sweep().blobs == 1
    assert not blobs.exists(laid_down)


def test_a_file_that_is_put_again_is_young_again(blobs: Blobs, tmp_path: Path) -> None:
    first = put(blobs, tmp_path, "same")
    place = blobs.path(first)
    if place is not None:
        os.utime(place, (0, 0))
    assert put(blobs, tmp_path, "same") == first
    assert [(digest, age < 60) for digest, age in blobs.listed()] == [(first, True)]


def test_a_file_that_is_put_again_while_the_sweep_looks_around_stays(
    database: Database, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = open_blobs(str(tmp_path / "kept"))
    again, gone = put(blobs, tmp_path, "again"), put(blobs, tmp_path, "gone")
    for digest in (again, gone):
        os.utime(str(blobs.path(digest)), (0, 0))

    def named(_: LeftoverRepository) -> set[str]:
        put(blobs, tmp_path, "again")
        return set()

    monkeypatch.setattr(LeftoverRepository, "blobs", named)
    assert HouseKeeping(database, blobs, settings).sweep().blobs == 1
    assert blobs.exists(again)
    assert not blobs.exists(gone)


def test_traces_of_ended_jobs_go_by_their_time(database: Database, settings: Settings, tmp_path: Path) -> None:
    add(database, "old")
    add(database, "new")
    queue = Queue(database, worker="one", lease_seconds=30)
    for _ in range(2):
        claim = queue.claim(on_cpu)
        assert claim is not None
        queue.tell(claim, "progress", {"fraction": 0.5})
        queue.tell(claim, "metrics", {"epoch": 1, "step": 1, "values": {}})
        queue.checkpoint(claim, {"blob": "0" * 64, "bytes": 1, "epoch": 1, "step": 1})
        Jobs(database, settings=settings).cancel(claim.id)
        queue.stopped(claim)

    def aged(days: float) -> tuple[list[str], bool]:
        with database.write() as session:
            ended = database.now(session) - timedelta(days=days)
            session.execute(update(Job).where(Job.id == "old").values(ended_at=ended))
        HouseKeeping(database, open_blobs(str(tmp_path / "kept")), settings).sweep()
        with database.read() as session:
            kinds = session.scalars(select(JobEvent.kind).where(JobEvent.job == "old").order_by(JobEvent.id)).all()
            others = session.scalars(select(JobEvent.kind).where(JobEvent.job == "new")).all()
            assert {"progress", "metrics"} <= set(others)
            return [kind for kind in kinds if kind != "state"], session.get_one(Job, "old").checkpoint is not None

    assert aged(0.5) == (["progress", "metrics"], True)
    assert aged(2) == (["metrics"], True)
    assert aged(8) == (["metrics"], False)
    assert aged(91) == ([], False)
