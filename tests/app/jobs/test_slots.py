"""A worker with several slots, on both databases: jobs at once, each on its device, and one bell. No training runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select

from app.blobs import FolderBlobs
from app.db.engine import Database
from app.db.tables import Worker
from app.jobs import bell
from app.jobs.bell import Bell
from app.jobs.executors import Message, Order
from app.jobs.loop import Loop
from app.jobs.parts import Parts
from app.jobs.places import Places
from app.services.datasets import Datasets
from app.services.housekeeping import HouseKeeping
from app.services.jobs import Jobs
from app.services.registry import Registry
from app.services.requests import TrainRequest
from app.services.vectors import VectorFiles
from app.settings import Settings
from tests.app.jobs.test_places import TWO_GPUS
from tests.app.jobs.test_queue import add

SAMPLE = Path(__file__).parents[3] / "models/tasks/sentiment/sample.jsonl"


class Work:
    """Work that goes on until it is asked to stop, or told that it failed."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.fails, self.stops = threading.Event(), threading.Event()

    def messages(self, timeout: float) -> list[Message]:
        if self.stops.wait(0.02):
            return [("stopped", {"reason": "asked"})]
        return [("failed", {"type": "bad-data", "title": "", "detail": "as told"})] if self.fails.is_set() else []

    def stop(self, reason: str) -> None:
        self.stops.set()

    def answer(self, text: str | None) -> None: ...

    def kill(self) -> None: ...


class Holding:
    """An executor whose work goes on and on, once it is warm."""

    def __init__(self) -> None:
        self.work: list[Work] = []
        self.may_warm, self.broken = threading.Event(), False
        self.may_warm.set()

    def warm(self) -> None:
        self.may_warm.wait(20)
        if self.broken:
            raise OSError

    def start(self, order: Order) -> Work:
        self.work.append(Work(order))
        return self.work[-1]

    def close(self) -> None: ...


@pytest.fixture
def executor() -> Holding:
    return Holding()


@pytest.fixture
def parts(settings: Settings, database: Database, tmp_path: Path, executor: Holding) -> Parts:
    given = settings.model_copy(update={"slots": 2, "threads": 5})
    blobs = FolderBlobs(tmp_path / "blobs")
    datasets = Datasets(database, blobs, given)
    copy = tmp_path / "rows.jsonl"
    copy.write_bytes(SAMPLE.read_bytes())
    datasets.create(copy, task="sentiment", name="ds", media_type="application/x-ndjson", bytes=1, digest="0" * 64)
    return Parts(
        settings=given,
        database=database,
        blobs=blobs,
        datasets=datasets,
        vectors=VectorFiles(database, blobs, given),
        registry=Registry(database, blobs, given),
        house=HouseKeeping(database, blobs, given),
        executor=executor,
        places=Places("auto", probe=TWO_GPUS),
        name="one",
    )


@contextmanager
def at_work(parts: Parts) -> Iterator[None]:
    stopping = threading.Event()
    thread = threading.Thread(target=Loop(parts, stopping).run)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(20)
        assert not thread.is_alive()


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_two_slots_run_two_jobs_on_two_devices_and_a_third_when_one_is_free(parts: Parts, executor: Holding) -> None:
    jobs = Jobs(parts.database, settings=parts.settings)

    def submitted() -> str:
        return jobs.submit(TrainRequest(task="sentiment", dataset="ds", model="m")).id

    def states() -> list[str]:
        return [jobs.get(job).state for job in made]

    made = [submitted() for _ in range(3)]
    with at_work(parts):
        until(lambda: len(executor.work) == 2)
        first, second = sorted(executor.work, key=lambda work: made.index(work.order.job))
        assert [work.order.devices for work in (first, second)] == [("cuda:0",), ("cuda:1",)]
        assert [work.order.threads for work in (first, second)] == [2, 2]
        assert states() == ["running", "running", "queued"]
        second.fails.set()
        until(lambda: len(executor.work) == 3)
        assert executor.work[2].order.devices == ("cuda:1",)
        jobs.pause(made[0])
        until(lambda: states() == ["paused", "failed", "running"])
    assert states() == ["paused", "failed", "queued"], "what was at work is handed back"
    assert jobs.get(made[2]).attempt == 0


@pytest.mark.parametrize("broken", [False, True])
def test_no_job_is_claimed_before_it_could_begin_or_say_why_not(parts: Parts, executor: Holding, broken: bool) -> None:
    executor.may_warm.clear()
    executor.broken = broken
    jobs = Jobs(parts.database, settings=parts.settings)
    job = jobs.submit(TrainRequest(task="sentiment", dataset="ds", model="m")).id
    with at_work(parts):
        until(lambda: lives(parts))
        assert jobs.get(job).state == "queued"
        executor.may_warm.set()
        until(lambda: executor.work)


def lives(parts: Parts) -> bool:
    """Whether the worker has looked around once, and said that it lives."""
    with parts.database.read() as session:
        return session.scalar(select(func.count()).select_from(Worker)) == 1


def test_a_database_that_rings_wakes_a_worker_at_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bell, "SELDOM", 30.0)
    stopping = threading.Event()
    rings = Bell(database, stopping, poll_seconds=0.3)
    rings.start()
    try:
        rings.wait(most=5)
        until(lambda: rings._listens or database.sqlite)
        threading.Timer(0.1, add, args=(database, "job")).start()
        began = time.monotonic()
        rings.wait(most=10)
        assert time.monotonic() - began < 5
        rings.wait(most=0.01)
        began = time.monotonic()
        rings.ring()
        rings.wait(most=10)
        assert time.monotonic() - began < 0.1, "it rang before"
    finally:
        stopping.set()
    began = time.monotonic()
    rings.wait(most=10)
    assert time.monotonic() - began < 0.1, "a worker that is to stop does not wait"
