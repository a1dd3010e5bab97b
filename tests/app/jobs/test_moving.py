"""Files that take longer to fetch than a lease lasts: the job stays with its worker, and stops when it is asked to."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from app.blobs import FolderBlobs
from app.db.engine import Database
from app.errors import Away
from app.jobs.executors import Message, Order
from app.jobs.loop import Loop
from app.jobs.parts import Parts
from app.jobs.places import Places
from app.jobs.queue import Queue
from app.services.datasets import Datasets
from app.services.housekeeping import HouseKeeping
from app.services.jobs import Jobs, JobView
from app.services.registry import Registry
from app.services.requests import TrainRequest
from app.services.vectors import VectorFiles
from app.settings import Settings

SAMPLE = Path(__file__).parents[3] / "models/tasks/sentiment/sample.jsonl"
LEASE = 0.6
LONG = 2.0


class Far(FolderBlobs):
    """A blob store somewhere else: nothing lies on this machine, and opening takes its time."""

    seconds = LONG
    away = 0
    """How often it does not answer."""
    full = False
    """Whether it takes nothing."""

    def path(self, digest: str) -> Path | None:
        return None

    def open(self, digest: str) -> BinaryIO:
        time.sleep(self.seconds)
        if self.away:
            self.away -= 1
            raise ConnectionError
        return super().open(digest)

    def put(self, path: Path) -> str:
        if self.full:
            raise Away("the blob store takes nothing", retry_after=1)
        return super().put(path)


class Refusing:
    """An executor whose work fails at once, so that a job ends as soon as its files are there."""

    def __init__(self) -> None:
        self.orders: list[Order] = []

    def warm(self) -> None: ...

    def start(self, order: Order) -> Refusing:
        assert order.rows.stat().st_size > 0
        self.orders.append(order)
        return self

    def messages(self, timeout: float) -> list[Message]:
        return [("failed", {"type": "bad-data", "title": "Bad data", "detail": "as told", "remedy": "none"})]

    def stop(self, reason: str) -> None: ...

    def kill(self) -> None: ...

    def close(self) -> None: ...


class Laying(Refusing):
    """One that lays a checkpoint down before."""

    def __init__(self) -> None:
        super().__init__()
        self.laid: Path | None = None

    def messages(self, timeout: float) -> list[Message]:
        if self.laid is not None:
            return super().messages(timeout)
        self.laid = self.orders[0].checkpoints / "laid"
        self.laid.write_bytes(b"what was learnt")
        return [("checkpoint", {"path": str(self.laid), "epoch": 1, "step": 0})]


@pytest.fixture
def parts(settings: Settings, database: Database, tmp_path: Path) -> Parts:
    short = settings.model_copy(update={"lease_seconds": LEASE})
    blobs = Far(tmp_path / "far")
    datasets = Datasets(database, blobs, short)
    copy = tmp_path / "rows.jsonl"
    copy.write_bytes(SAMPLE.read_bytes())
    datasets.create(copy, task="sentiment", name="far", media_type="application/x-ndjson", bytes=1, digest="0" * 64)
    return Parts(
        settings=short,
        database=database,
        blobs=blobs,
        datasets=datasets,
        vectors=VectorFiles(database, blobs, short),
        registry=Registry(database, blobs, short),
        house=HouseKeeping(database, blobs, short),
        executor=Refusing(),
        places=Places("cpu"),
        name="one",
    )


@pytest.fixture
def patient(parts: Parts) -> Parts:
    """The same with a lease that no busy machine lets run out: what is tested is not the lease."""
    return replace(parts, settings=parts.settings.model_copy(update={"lease_seconds": 30.0}))


@contextmanager
def at_work(parts: Parts) -> Iterator[threading.Event]:
    stopping = threading.Event()
    thread = threading.Thread(target=Loop(parts, stopping).run)
    thread.start()
    try:
        yield stopping
    finally:
        stopping.set()
        thread.join(20)
        assert not thread.is_alive()


def submitted(parts: Parts) -> tuple[Jobs, str]:
    jobs = Jobs(parts.database, settings=parts.settings)
    return jobs, jobs.submit(TrainRequest(task="sentiment", dataset="far", model="m")).id


def until(jobs: Jobs, job: str, *states: str) -> JobView:
    end = time.monotonic() + 20
    while (view := jobs.get(job)).state not in states:
        assert time.monotonic() < end, view
        time.sleep(0.02)
    return view


def test_a_copy_longer_than_the_lease_keeps_the_job(parts: Parts) -> None:
    jobs, job = submitted(parts)
    other = Queue(parts.database, worker="two", lease_seconds=LEASE)
    with at_work(parts):
        until(jobs, job, "running")
        taken = 0
        while jobs.get(job).state == "running":
            taken += other.reap()
            time.sleep(0.02)
    view = jobs.get(job)
    assert (taken, view.state, view.attempt) == (0, "failed", 1)
    assert view.error is not None
    assert view.error["detail"] == "as told"
    assert (view.ended_at - view.started_at).total_seconds() >= LONG  # type: ignore[operator]


@pytest.mark.parametrize(("asked", "state"), [("cancel", "cancelled"), ("pause", "paused")])
def test_a_job_stops_while_its_files_are_copied(parts: Parts, asked: str, state: str) -> None:
    jobs, job = submitted(parts)
    with at_work(parts):
        until(jobs, job, "running")
        began = time.monotonic()
        getattr(jobs, asked)(job)
        until(jobs, job, state)
        assert time.monotonic() - began < LONG
    executor: Any = parts.executor
    assert executor.orders == []


def test_a_worker_that_ends_while_it_copies_hands_the_job_back(parts: Parts) -> None:
    jobs, job = submitted(parts)
    with at_work(parts) as stopping:
        until(jobs, job, "running")
        stopping.set()
        assert until(jobs, job, "queued").attempt == 0


def test_a_blob_store_that_does_not_answer_for_a_moment_costs_a_moment(patient: Parts) -> None:
    blobs: Any = patient.blobs
    blobs.seconds, blobs.away = 0.0, 1
    jobs, job = submitted(patient)
    with at_work(patient):
        view = until(jobs, job, "failed")
    assert view.attempt == 2
    assert "files could not be moved: ConnectionError" in [move.reason for move in view.transitions]
    assert view.error is not None
    assert view.error["detail"] == "as told"


def test_a_training_outlives_a_blob_store_that_takes_no_checkpoint(patient: Parts) -> None:
    blobs: Any = patient.blobs
    blobs.seconds, blobs.full = 0.0, True
    executor = Laying()
    jobs, job = submitted(patient)
    with at_work(replace(patient, executor=executor)):
        view = until(jobs, job, "failed")
    assert executor.laid is not None
    assert not executor.laid.exists(), "what is passed over takes no room"
    assert view.attempt == 1
    assert view.error is not None
    assert view.error["detail"] == "as told"
