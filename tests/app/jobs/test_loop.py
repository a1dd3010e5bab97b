"""A worker process and its child, for real: trained, cancelled, killed, ended. Knows processes and the services."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import update

from app.blobs import open_blobs
from app.db.engine import Database
from app.db.repositories.models import ModelRepository
from app.db.tables import Job, Model
from app.jobs.queue import Queue
from app.services.datasets import Datasets
from app.services.jobs import Jobs, JobView
from app.services.registry import Reference, Registry
from app.services.requests import CompareRequest, EvaluateRequest, TrainRequest, TuneRequest
from app.settings import Settings

pytestmark = pytest.mark.timeout(400)  # several processes, each of which loads torch: slow where cores are busy

SAMPLE = Path(__file__).parents[3] / "models/tasks/sentiment/sample.jsonl"
LONG = {"epochs": 1000, "patience": 1000, "hidden": 32, "embedding": 8}
SHORT = {"epochs": 2, "hidden": 8, "embedding": 8}


@contextmanager
def worker(settings: Settings, url: str, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CELLGATE_")} | {
        "CELLGATE_HOME": str(settings.home),
        "CELLGATE_DATABASE_URL": url,
        "CELLGATE_POLL_SECONDS": "0.05",
        "CELLGATE_DEVICE": "cpu",
        "CELLGATE_LEASE_SECONDS": "2",
        "CELLGATE_LOG_LEVEL": "warning",
        **more,
    }
    process = subprocess.Popen([sys.executable, "-m", "app.worker"], env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture
def jobs(settings: Settings, database: Database) -> Jobs:
    blobs = open_blobs(settings.blob_store)
    datasets = Datasets(database, blobs, settings)
    size = SAMPLE.stat().st_size
    datasets.create(
        SAMPLE, task="sentiment", name="reviews", media_type="application/x-ndjson", bytes=size, digest="0" * 64
    )
    return Jobs(database, settings=settings)


def submit(jobs: Jobs, config: dict[str, Any], model: str = "reviews") -> str:
    return jobs.submit(TrainRequest(task="sentiment", dataset="reviews", model=model, config=config)).id


def until(jobs: Jobs, job: str, true: Callable[[JobView], object], seconds: float = 120.0) -> JobView:
    end = time.monotonic() + seconds
    while True:
        view = jobs.get(job)
        if true(view):
            return view
        assert time.monotonic() < end, f"still {view.state}: {view.transitions}, {view.error}"
        time.sleep(0.02)


def learning(view: JobView) -> bool:
    assert view.error is None
    return "train_loss" in view.metrics


def child_of(process: subprocess.Popen[bytes]) -> psutil.Process:
    """The process that trains: the server's, which is the worker's."""
    (found,) = children_of(process)
    return found


def children_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return [grandchild for child in psutil.Process(process.pid).children() for grandchild in child.children()]


def test_a_job_trains_a_model_and_a_killed_child_is_begun_again(
    jobs: Jobs, settings: Settings, database: Database, database_url: str
) -> None:
    with worker(settings, database_url) as process:
        until(jobs, submit(jobs, SHORT, "first"), lambda view: view.state == "succeeded")
        job = submit(jobs, LONG)
        started = time.monotonic()
        until(jobs, job, lambda view: view.state == "running")
        assert time.monotonic() - started < 1.0
        until(jobs, job, learning)
        child_of(process).send_signal(signal.SIGKILL)
        view = until(jobs, job, lambda view: view.attempt == 2)
        assert "the process that ran the job died: SIGKILL, sent by somebody" in [
            move.reason for move in view.transitions
        ]
        assert jobs.cancel(job).state == "cancelling"
        assert until(jobs, job, lambda view: view.state == "cancelled").ended_at is not None
        assert process.poll() is None
    version = Registry(database, open_blobs(settings.blob_store), settings).resolve(Reference.parse("first"))
    assert version.version == 1
    assert version.aliases == ["production"]


def test_interrupted_in_every_way_a_job_ends_with_the_weights_of_an_undisturbed_one(
    jobs: Jobs, settings: Settings, database: Database, database_url: str
) -> None:
    config = {"epochs": 50, "patience": 50, "hidden": 8, "embedding": 8, "seed": 3}
    with worker(settings, database_url) as process:
        until(jobs, submit(jobs, config, "undisturbed"), lambda view: view.state == "succeeded")
        job = submit(jobs, config, "disturbed")

        def laid_down(view: JobView) -> int:
            return view.checkpoint.step if view.checkpoint else 0

        def gets_on() -> int:
            before = laid_down(jobs.get(job))
            return laid_down(until(jobs, job, lambda view: laid_down(view) > before))

        gets_on()
        jobs.pause(job)
        until(jobs, job, lambda view: view.state == "paused")
        jobs.resume(job)
        gets_on()
        child_of(process).send_signal(signal.SIGKILL)
        gets_on()
        process.terminate()
        assert process.wait(10) == 0
        assert jobs.get(job).state == "queued"
    with worker(settings, database_url) as process:
        gets_on()
        jobs.cancel(job)
        until(jobs, job, lambda view: view.state == "cancelled")
        jobs.resume(job)
        step = gets_on()
        process.kill()
    with worker(settings, database_url):
        view = until(jobs, job, lambda view: view.state == "succeeded")
    assert view.resumed_from is not None
    assert view.resumed_from.step >= step
    epochs = [event.data["epoch"] for event in jobs.events(job, kinds=["metrics"], limit=10_000)]
    assert sorted(set(epochs)) == list(range(1, 51))
    registry = Registry(database, open_blobs(settings.blob_store), settings)
    one, other = (registry.resolve(Reference.parse(name)) for name in ("undisturbed", "disturbed"))
    assert one.weights_digest == other.weights_digest
    assert one.metrics == other.metrics


def test_two_processes_share_a_training_and_none_goes_on_without_the_other(
    jobs: Jobs, settings: Settings, database: Database, database_url: str
) -> None:
    with worker(settings, database_url) as process:
        until(jobs, submit(jobs, SHORT | {"processes": 2}, "shared"), lambda view: view.state == "succeeded")
        job = submit(jobs, LONG | {"processes": 2})
        until(jobs, job, learning)
        members = children_of(process)
        assert len(members) == 2
        members[1].send_signal(signal.SIGKILL)
        until(jobs, job, lambda view: view.attempt == 2 and learning(view))
        jobs.cancel(job)
        until(jobs, job, lambda view: view.state == "cancelled")
    version = Registry(database, open_blobs(settings.blob_store), settings).resolve(Reference.parse("shared"))
    assert version.config["processes"] == 2


def test_a_worker_that_is_told_to_end_hands_its_job_back_and_leaves_no_process(
    jobs: Jobs, settings: Settings, database_url: str
) -> None:
    job = submit(jobs, LONG)
    with worker(settings, database_url) as process:
        until(jobs, job, learning)
        child, started = child_of(process), time.monotonic()
        process.terminate()
        assert process.wait(10) == 0
        assert time.monotonic() - started < 10
        view = jobs.get(job)
        assert (view.state, view.attempt) == ("queued", 0)
        child.wait(5)


def test_a_worker_with_two_slots_trains_two_models_at_once_and_hands_both_back(
    jobs: Jobs, settings: Settings, database_url: str
) -> None:
    both = [submit(jobs, LONG, name) for name in ("one", "other")]
    with worker(settings, database_url, CELLGATE_SLOTS="2") as process:
        for job in both:
            until(jobs, job, learning)
        assert len(children_of(process)) == 2
        process.terminate()
        assert process.wait(10) == 0
    assert [jobs.get(job).state for job in both] == ["queued", "queued"]


def test_a_training_dies_with_its_worker(jobs: Jobs, settings: Settings, database_url: str) -> None:
    job = submit(jobs, LONG)
    with worker(settings, database_url) as process:
        until(jobs, job, learning)
        child = child_of(process)
        process.kill()
        child.wait(10)


def test_a_job_whose_model_was_taken_by_another_task_fails_and_the_worker_lives(
    jobs: Jobs, settings: Settings, database: Database, database_url: str
) -> None:
    job = submit(jobs, SHORT | {"lr": 1e-3})
    with database.write() as session:
        ModelRepository(session).add(Model(name="reviews", task="forecasting", created_at=database.now(session)))
    with worker(settings, database_url) as process:
        view = until(jobs, job, lambda view: view.state == "failed")
        assert view.error is not None
        assert view.error["type"] == "refused"
        assert "forecasting" in view.error["detail"]
        assert process.poll() is None


def test_a_warm_start_begins_where_the_version_stood(
    jobs: Jobs, settings: Settings, database: Database, database_url: str
) -> None:
    with worker(settings, database_url):
        until(jobs, submit(jobs, SHORT), lambda view: view.state == "succeeded")
        warm = TrainRequest(task="sentiment", dataset="reviews", model="next", config=SHORT, warm_start="reviews")
        job = jobs.submit(warm)
        assert job.request["warm_start"] == "reviews:1"
        until(jobs, job.id, lambda view: view.state == "succeeded")
    first = jobs.events(job.id, kinds=["metrics"])[0].data
    version = Registry(database, open_blobs(settings.blob_store), settings).resolve(Reference.parse("reviews"))
    assert first["epoch"] == 0
    assert first["values"]["validation_loss"] == pytest.approx(version.metrics["validation_loss"], rel=1e-5)
    said = [event.data["text"] for event in jobs.events(job.id, kinds=["log"])]
    assert any(text.startswith("beginning from reviews:1: ") for text in said)


def test_an_evaluation_finds_the_scores_that_the_training_ended_with(
    jobs: Jobs, settings: Settings, database: Database, database_url: str
) -> None:
    with worker(settings, database_url):
        until(jobs, submit(jobs, SHORT), lambda view: view.state == "succeeded")
        asked = EvaluateRequest(kind="evaluate", model="reviews", dataset="reviews", split="validation")
        job = jobs.submit(asked)
        assert job.request["model"] == "reviews:1"
        view = until(jobs, job.id, lambda view: view.state in {"succeeded", "failed"})
    assert view.error is None
    assert view.result is not None
    version = Registry(database, open_blobs(settings.blob_store), settings).resolve(Reference.parse("reviews"))
    assert (view.result["model"], view.result["version"], view.result["split"]) == ("reviews", 1, "validation")
    assert view.result["rows"] > 0
    for name in ("loss", "accuracy"):
        assert view.result["metrics"][name] == pytest.approx(version.metrics[f"validation_{name}"], rel=1e-5)


@pytest.mark.timeout(300)
def test_a_comparison_ends_with_one_version_though_a_worker_is_killed_in_its_midst(
    jobs: Jobs, settings: Settings, database: Database, database_url: str
) -> None:
    asked = {"kind": "compare", "task": "sentiment", "dataset": "reviews", "model": "best", "cells": ["lstm", "slstm"]}
    parent = jobs.submit(CompareRequest.model_validate({**asked, "seeds": 1, "config": SHORT})).id
    with worker(settings, database_url):
        until(jobs, parent, lambda view: view.children[0].state == "succeeded", seconds=120)
    with database.write() as session:  # as if its lease had run out
        session.execute(update(Job).where(Job.lease_until.is_not(None)).values(lease_until=database.now(session)))
    with worker(settings, database_url):
        view = until(jobs, parent, lambda view: view.state in {"succeeded", "failed"}, seconds=120)
        swept = Queue(database, worker="looks", lease_seconds=60)
        until(jobs, parent, lambda _: not swept.spent())
    assert view.error is None
    assert view.result is not None
    cells = {row["cell"]: row for row in view.result["cells"]}
    assert list(cells) == ["lstm", "slstm"]
    assert all(run["score"] is not None for row in cells.values() for run in row["runs"])
    registry = Registry(database, open_blobs(settings.blob_store), settings)
    version = registry.resolve(Reference.parse("best"))
    assert (view.result["model"], view.result["version"], version.version) == ("best", 1, 1)
    assert version.job == view.result["best"]["job"]
    assert version.config["cell"] == view.result["best"]["cell"]
    assert version.metrics == view.result["metrics"]
    zips = {path.name for path in settings.home.rglob("*") if path.is_file() and zipfile.is_zipfile(path)}
    assert zips == {version.digest}, "the artifacts that were not chosen are gone"


def test_a_study_ends_with_its_best_trial_as_a_version_though_a_worker_is_killed_in_its_midst(
    jobs: Jobs, settings: Settings, database: Database, database_url: str
) -> None:
    search = {"hidden": [4, 8], "lr": {"low": 1e-4, "high": 1e-1, "log": True}}
    asked = {"kind": "tune", "task": "sentiment", "dataset": "reviews", "model": "tuned", "search": search, "trials": 3}
    config = {"epochs": 2, "embedding": 8}
    parent = jobs.submit(TuneRequest.model_validate({**asked, "config": config})).id
    with worker(settings, database_url):
        until(jobs, parent, lambda view: len(view.children[1].varies) > 1)
    settled = jobs.get(parent).children[1].varies
    with database.write() as session:  # as if its lease had run out
        session.execute(update(Job).where(Job.lease_until.is_not(None)).values(lease_until=database.now(session)))
    with worker(settings, database_url):
        view = until(jobs, parent, lambda view: view.state in {"succeeded", "failed"})
    assert view.error is None
    assert view.result is not None
    rows = view.result["trials"]
    assert {"trial": 1, **rows[1]["params"]} == settled, "what was settled holds"
    assert all(4 <= row["params"]["hidden"] <= 8 and row["score"] is not None for row in rows)
    best = max(rows, key=lambda row: (row["score"], -row["loss"]))
    assert view.result["best"]["trial"] == best["trial"]
    version = Registry(database, open_blobs(settings.blob_store), settings).resolve(Reference.parse("tuned"))
    assert (version.version, version.job) == (1, best["job"])
    assert {name: version.config[name] for name in search} == best["params"]
    assert version.study is not None
    assert version.study["trials"] == rows
    child = jobs.get(best["job"])
    assert child.result is not None
    assert list(child.result["by_epoch"]) == ["1", "2"]
