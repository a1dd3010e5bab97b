"""The queue on both databases: claimed once, fenced, leased, handed back; by real processes at once."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from app.db.engine import Database
from app.db.repositories.jobs import JobRepository
from app.db.tables import Dataset, Job
from app.errors import Conflict
from app.jobs.problems import problem
from app.jobs.queue import DEATHS, STRIKES, Claim, Lost, Queue
from app.services.jobs import Jobs
from app.settings import Settings
from tests.offers import on_cpu

CLAIMER = """
import sys
from app.db.engine import Database
from app.jobs.queue import Queue
from tests.offers import on_cpu
database = Database(sys.argv[1])
queue = Queue(database, worker=sys.argv[2], lease_seconds=60)
while claim := queue.claim(on_cpu):
    print(claim.id, flush=True)
database.close()
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def add(database: Database, name: str, *, priority: int = 0, **more: Any) -> None:
    with database.write() as session:
        now = database.now(session)
        if session.get(Dataset, "ds") is None:
            counted = {"rows": 1, "bytes": 1, "splits": {}, "stats": {}, "warnings": []}
            session.add(Dataset(id="ds", name="ds", task="sentiment", digest="", blob="", created_at=now, **counted))
            session.flush()
        jobs = JobRepository(session)
        more.setdefault("request", {"model": "m", "config": {}})
        job = Job(
            id=name,
            kind="train",
            task="sentiment",
            dataset="ds",
            state="queued",
            priority=priority,
            model="m",
            progress={},
            metrics={},
            attempt=0,
            fence=0,
            created_at=now,
            **more,
        )
        jobs.add(job)
        jobs.moved(job, "queued", "submitted", now)


def queue(database: Database, worker: str = "one") -> Queue:
    return Queue(database, worker=worker, lease_seconds=30)


def claimed(database: Database, worker: str = "one") -> Claim:
    claim = queue(database, worker).claim(on_cpu)
    assert claim is not None
    return claim


def state(database: Database, name: str = "job") -> str:
    with database.read() as session:
        return session.scalars(select(Job.state).where(Job.id == name)).one()


def expire(database: Database) -> None:
    with database.write() as session:
        session.execute(update(Job).values(lease_until=database.now(session) - timedelta(seconds=1)))


def lose(database: Database, *, laid_down: str | None = None, by: str = "loss") -> None:
    """A worker claims the job, perhaps lays a checkpoint down, and is lost; or the job's process dies."""
    with database.write() as session:
        session.execute(update(Job).values(not_before=None))
    claim = claimed(database)
    if laid_down is not None:
        queue(database).checkpoint(claim, kept(laid_down))
    if by == "death":
        queue(database).died(claim, "SIGSEGV")
    elif by == "kill":
        queue(database).died(claim, "SIGKILL", killed=True)
    else:
        expire(database)
        queue(database).reap()


def wait_of(database: Database) -> float:
    """Seconds until the job is begun again."""
    with database.read() as session:
        job = session.get_one(Job, "job")
        return 0.0 if job.not_before is None else (job.not_before - database.now(session)).total_seconds()


def kept(blob: str) -> dict[str, Any]:
    return {"blob": blob, "bytes": 1, "epoch": 2, "step": 7}


def test_priority_first_then_age(database: Database) -> None:
    add(database, "old")
    time.sleep(0.01)
    add(database, "new")
    add(database, "urgent", priority=5)
    assert [claimed(database).id for _ in range(3)] == ["urgent", "old", "new"]
    assert queue(database).claim(on_cpu) is None


def test_processes_at_once_claim_each_job_once(database_url: str, database: Database) -> None:
    names = {f"job{i:02}" for i in range(40)}
    for name in sorted(names):
        add(database, name)
    claimers = [
        subprocess.Popen([sys.executable, "-c", CLAIMER, database_url, f"w{i}"], stdout=subprocess.PIPE, text=True)
        for i in range(4)
    ]
    taken = [line for process in claimers for line in process.communicate(timeout=60)[0].split()]
    assert sorted(taken) == sorted(names)


def test_a_worker_that_lost_its_lease_writes_nothing(database: Database) -> None:
    add(database, "job")
    zombie = claimed(database)
    expire(database)
    assert queue(database).reap() == 1
    with database.write() as session:
        session.execute(update(Job).values(not_before=None))
    second = claimed(database, "two")
    assert second.attempt == 2
    for write in (
        lambda: queue(database).heartbeat(zombie),
        lambda: queue(database).tell(zombie, "log", {"level": "info", "text": "late"}),
        lambda: queue(database).succeed(zombie, lambda _: {}),
        lambda: queue(database).fail(zombie, {"detail": "late"}),
        lambda: queue(database).checkpoint(zombie, kept("late")),
        lambda: queue(database).resumed(zombie, {"epoch": 1, "step": 1}),
        lambda: queue(database).hand_back(zombie, "late"),
    ):
        with pytest.raises(Lost):
            write()
    queue(database, "two").succeed(second, lambda _: {"ok": True})
    assert state(database) == "succeeded"


def test_a_living_worker_keeps_its_job(database: Database) -> None:
    add(database, "job")
    claim = claimed(database)
    expire(database)
    assert queue(database).heartbeat(claim) == "running"
    assert queue(database).reap() == 0


@pytest.mark.parametrize(
    ("by", "says"),
    [
        ("loss", "20 times in a row a worker that ran this job was lost, or could not run it"),
        ("kill", "20 times in a row the process that ran this job was ended, the last time by SIGKILL"),
    ],
)
def test_a_job_that_nobody_lets_run_fails_in_the_end(
    database: Database, settings: Settings, by: str, says: str
) -> None:
    add(database, "job")
    for _ in range(STRIKES):
        assert state(database) == "queued"
        lose(database, by=by)
    job = Jobs(database, settings=settings).get("job")
    assert job.state == "failed"
    assert job.error is not None
    assert job.error["type"] == "worker-lost"
    assert job.error["detail"] == says
    assert "memory" in job.error["remedy"]
    assert queue(database).claim(on_cpu) is None


def test_a_job_that_kills_its_process_fails_long_before_one_whose_workers_are_lost(
    database: Database, settings: Settings
) -> None:
    add(database, "job")
    kills = ["loss", "death", "kill", "loss"] * DEATHS  # the machine is in a storm, and the job is no better
    for by in kills[: kills.index("death") + 1 + 4 * (DEATHS - 1)]:
        assert state(database) == "queued"
        lose(database, by=by)
    job = Jobs(database, settings=settings).get("job")
    assert job.error is not None
    assert (job.error["type"], job.attempt) == ("worker-lost", 18)
    said = "5 times in a row the process that ran this job was ended, the last time by SIGSEGV"
    assert job.error["detail"] == said
    assert "a fault of the service or of a library" in job.error["remedy"]


@pytest.mark.parametrize("by", ["loss", "kill", "death"])
def test_what_is_laid_down_or_asked_for_clears_a_job(database: Database, settings: Settings, by: str) -> None:
    jobs = Jobs(database, settings=settings)
    add(database, "job")
    for _ in range(2):
        for _ in range(DEATHS - 1):
            lose(database, by=by)
        lose(database, laid_down="blob", by=by)
        for _ in range(DEATHS - 2):
            lose(database, by=by)
        assert state(database) == "queued"
        jobs.pause("job")
        jobs.resume("job")
    lose(database, by=by)
    assert state(database) == "queued"


def test_a_job_that_gets_on_between_its_losses_is_never_given_up(database: Database, settings: Settings) -> None:
    add(database, "job")
    for number in range(3 * STRIKES):
        lose(database, laid_down=f"blob{number}")
    job = Jobs(database, settings=settings).get("job")
    assert (job.state, job.attempt) == ("queued", 3 * STRIKES)
    assert job.checkpoint is not None
    assert job.checkpoint.step == 7


def test_a_checkpoint_is_handed_to_the_next_claim_until_the_job_ends(database: Database, settings: Settings) -> None:
    jobs = Jobs(database, settings=settings)
    add(database, "job")
    claim = claimed(database)
    assert claim.checkpoint is None
    assert queue(database).checkpoint(claim, kept("one")) is None
    assert queue(database).checkpoint(claim, kept("two")) == "one"
    jobs.pause("job")
    queue(database).stopped(claim)
    jobs.resume("job")
    claim = claimed(database)
    assert claim.checkpoint == "two"
    queue(database).resumed(claim, {"epoch": 2, "step": 7})
    view = jobs.get("job")
    assert view.resumed_from is not None
    assert view.resumed_from.model_dump(exclude_none=True) == {"epoch": 2, "step": 7}
    queue(database).succeed(claim, lambda _: {})
    assert jobs.get("job").checkpoint is None


def test_a_fault_that_may_pass_is_tried_again_later_each_time_and_fails_with_its_problem(database: Database) -> None:
    found = problem("storage-away", "files could not be moved", "see whether it answers")
    add(database, "job")
    waits = []
    for _ in range(STRIKES):
        assert state(database) == "queued"
        with database.write() as session:
            session.execute(update(Job).values(not_before=None))
        queue(database).falter(claimed(database), found)
        waits.append(wait_of(database))
    assert [round(wait) for wait in waits[:8]] == [1, 2, 4, 8, 16, 32, 60, 60]
    with database.read() as session:
        job = session.get_one(Job, "job")
        assert (job.state, job.error) == ("failed", found)


def test_pieces_add_up_and_are_left_to_the_sweep(database: Database, settings: Settings) -> None:
    jobs = Jobs(database, settings=settings)
    add(database, "job")
    claim = claimed(database)
    for number, piece in enumerate(("one", "two")):
        assert queue(database).checkpoint(claim, {"piece": piece, "bytes": 1, "row": number}) is None
    expire(database)
    queue(database).reap()
    with pytest.raises(Lost):
        queue(database).checkpoint(claim, {"piece": "late", "bytes": 1, "row": 9})
    assert claim.kept["pieces"] == ["one", "two"]
    with database.write() as session:
        session.execute(update(Job).values(not_before=None))
    claim = claimed(database)
    assert (claim.checkpoint, claim.kept["pieces"], claim.kept["row"]) == (None, ["one", "two"], 1)
    jobs.cancel("job")
    queue(database).stopped(claim)
    assert jobs.delete("job") == []


def test_cancelled_work_is_kept_for_resume_and_forgotten_by_retry(database: Database, settings: Settings) -> None:
    jobs = Jobs(database, settings=settings)
    for verb, expected in (("resume", "one"), ("retry", None)):
        add(database, verb)
        claim = claimed(database)
        queue(database).checkpoint(claim, kept("one"))
        queue(database).resumed(claim, {"epoch": 1, "step": 3})
        queue(database).tell(claim, "progress", {"fraction": 0.5, "epoch": 2})
        queue(database).tell(claim, "metrics", {"epoch": 2, "step": 7, "values": {"accuracy": 0.9}})
        jobs.cancel(verb)
        queue(database).stopped(claim)
        view = getattr(jobs, verb)(verb)
        begun_anew = (view.progress.fraction, view.progress.epoch, view.metrics, view.resumed_from) == (
            0,
            None,
            {},
            None,
        )
        assert begun_anew is (expected is None)
        assert claimed(database).checkpoint == expected


def test_steering_follows_the_states(database: Database, settings: Settings) -> None:
    jobs = Jobs(database, settings=settings)
    add(database, "job")
    assert jobs.pause("job").state == "paused"
    assert queue(database).claim(on_cpu) is None
    assert jobs.resume("job").state == "queued"
    claim = claimed(database)
    assert jobs.cancel("job").state == "cancelling"
    assert queue(database).heartbeat(claim) == "cancelling"
    with pytest.raises(Conflict, match="the job is cancelling"):
        jobs.pause("job")
    queue(database).stopped(claim)
    assert jobs.get("job").state == "cancelled"
    assert jobs.retry("job").state == "queued"
    with pytest.raises(Conflict, match="retry needs one that is failed or cancelled"):
        jobs.retry("job")
    assert [move.state for move in jobs.get("job").transitions][-3:] == ["cancelling", "cancelled", "queued"]


def test_a_cancelled_job_of_a_lost_worker_is_cancelled(database: Database, settings: Settings) -> None:
    add(database, "job")
    claimed(database)
    Jobs(database, settings=settings).cancel("job")
    expire(database)
    queue(database).reap()
    assert state(database) == "cancelled"


def test_work_handed_back_does_not_cost_an_attempt(database: Database) -> None:
    add(database, "job")
    queue(database).hand_back(claimed(database), "the worker ended")
    assert claimed(database).attempt == 1


def test_what_a_job_says_is_kept_in_order(database: Database, settings: Settings) -> None:
    jobs = Jobs(database, settings=settings)
    add(database, "job")
    claim = claimed(database)
    for epoch in (1, 2):
        queue(database).tell(claim, "metrics", {"epoch": epoch, "step": epoch, "values": {"accuracy": epoch / 2}})
    queue(database).tell(claim, "progress", {"fraction": 0.5})
    seen = jobs.events("job")
    assert [event.kind for event in seen] == ["state", "state", "metrics", "metrics", "progress"]
    assert [event.id for event in jobs.events("job", after=seen[2].id)] == [event.id for event in seen[3:]]
    assert jobs.get("job").metrics == {"accuracy": 1.0}
    assert jobs.get("job").progress.fraction == 0.5
