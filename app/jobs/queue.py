"""The queue that workers share: claim, heartbeat, finish, reap. Knows jobs and leases, not what a job does.

Every write of a worker is fenced: a claim grows the job's `fence`, and a worker whose number is no
longer the latest writes nothing and is told so by `Lost`. Leases run on the database's own clock.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from app.db.engine import Database
from app.db.repositories.jobs import JobRepository, Offer, lease
from app.db.tables import Job
from app.jobs.problems import problem

DEATHS = 5
"""Times in a row that a job's own process may die by itself, nothing laid down in between, before the job fails: it
is then taken for the cause."""
STRIKES = 20
"""Times in a row that anything around a job may fail it: somebody killed its process, its worker was lost, its blob
store was away. The job is then not the likely cause, but it may be: where memory is counted by container, the worker
dies with its child."""
BACK_OFF, LONGEST = 1.0, 60.0
"""Seconds before such a job is begun again; doubled with each strike, up to the second."""


class Lost(Exception):
    """The job is no longer this worker's."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A job that this worker holds."""

    id: str
    fence: int
    kind: str
    task: str
    model: str
    dataset: str
    device: str
    memory: int
    """Bytes that it needs there."""
    attempt: int
    parent: str | None
    request: dict[str, Any]
    kept: dict[str, Any]
    """The latest checkpoint, as it was noted last; empty where there is none."""

    @property
    def checkpoint(self) -> str | None:
        """The blob to go on from, where one holds all of it."""
        return self.kept.get("blob")

    @property
    def name(self) -> str:
        """Names this claim alone: a job that was lost may be claimed again by the same worker."""
        return f"{self.id}/{self.fence}"


@dataclass(frozen=True, kw_only=True)
class Child:
    """What became of one child of a claimed job."""

    id: str
    state: str
    request: dict[str, Any]
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    artifact: str | None


class Queue:
    """Jobs of one database, as one worker sees them."""

    def __init__(self, database: Database, *, worker: str, lease_seconds: float) -> None:
        self.database, self.worker, self.lease_seconds = database, worker, lease_seconds

    def claim(self, offers: Callable[[], Sequence[Offer]]) -> Claim | None:
        """Take the next job that fits one of the devices offered: the highest priority first, then the turn of the
        owner with the fewest at work, then the oldest. None where nothing waits; `offers` is then not asked."""
        with self.database.read() as session:  # an idle worker takes no write lock
            jobs, now = JobRepository(session), self.database.now(session)
            if not jobs.due(now) or jobs.claimable(now, offered := offers()) is None:
                return None
        with self.database.write() as session:
            jobs, now = JobRepository(session), self.database.now(session)
            job = jobs.next(now, offered)
            if job is None:
                return None
            job.fence += 1
            job.attempt += 1
            job.worker, job.device = self.worker, next(offer.device for offer in offered if offer.fits(job))
            job.started_at = job.started_at or now
            job.resumed_from = None
            job.heartbeat_at, job.lease_until = now, lease(now, self.lease_seconds)
            jobs.moved(job, "running", f"claimed by {self.worker}, attempt {job.attempt}", now)
            return Claim(
                id=job.id,
                fence=job.fence,
                kind=job.kind,
                task=str(job.task),
                model=str(job.model),
                dataset=str(job.dataset),
                device=job.device,
                memory=job.needs_memory,
                attempt=job.attempt,
                parent=job.parent,
                request=job.request,
                kept=dict(job.checkpoint or {}),
            )

    @contextmanager
    def _held(self, claim: Claim) -> Iterator[tuple[Session, JobRepository, Job, datetime]]:
        with self.database.write() as session:
            jobs = JobRepository(session)
            job = jobs.held(claim.id, claim.fence)
            if job is None:
                raise Lost(claim.id)
            yield session, jobs, job, self.database.now(session)

    def heartbeat(self, claim: Claim) -> str:
        """Renew the lease; returns the job's state, which may ask to stop. Raises `Lost`."""
        with self._held(claim) as (_, _, job, now):
            job.heartbeat_at, job.lease_until = now, lease(now, self.lease_seconds)
            return job.state

    def tell(self, claim: Claim, kind: str, data: dict[str, Any]) -> None:
        """Record progress, metrics or a line of the log. Raises `Lost`."""
        with self._held(claim) as (_, jobs, job, now):
            jobs.happened(job, kind, data, now)
            if kind == "progress":
                job.progress = data
            elif kind == "metrics":
                job.metrics = {**job.metrics, **data["values"]}

    def checkpoint(self, claim: Claim, kept: dict[str, Any]) -> str | None:
        """Note the latest checkpoint, with its place: a `blob`, which takes the place of the one returned; or a
        `piece`, which goes on where the pieces before it end. Raises `Lost`."""
        noted = {**kept}
        if "piece" in noted:
            noted["pieces"] = [*claim.kept.get("pieces", []), noted.pop("piece")]
        with self._held(claim) as (_, _, job, now):
            before = (job.checkpoint or {}).get("blob")
            job.checkpoint = {**noted, "at": now.isoformat()}
            job.strikes = job.deaths = 0
        claim.kept.clear()
        claim.kept.update(noted)
        return None if before == noted.get("blob") else before

    def resumed(self, claim: Claim, place: dict[str, Any]) -> None:
        """Note that the work goes on from a checkpoint: `{epoch, step}` or `{row}`. Raises `Lost`."""
        with self._held(claim) as (_, _, job, _):
            job.resumed_from = place

    def children(self, claim: Claim) -> list[Child]:
        """What became of the children of a job, in the order they were made."""
        with self.database.read() as session:
            return [_child(job) for job in JobRepository(session).children(claim.id)]

    def siblings(self, claim: Claim) -> list[Child]:
        """The other children of a child's parent, in the order they were made."""
        with self.database.read() as session:
            return [_child(job) for job in JobRepository(session).children(str(claim.parent)) if job.id != claim.id]

    def decide(self, claim: Claim, request: dict[str, Any]) -> bool:
        """Settle what a child varies, unless a sibling settled on the same meanwhile: False, and nothing is changed.

        Raises `Lost`.
        """
        with self._held(claim) as (_, jobs, job, _):
            jobs.get(str(job.parent), lock=True)  # children of one parent settle one after the other
            others = [settled(each.request) for each in jobs.children(str(job.parent)) if each.id != job.id]
            if settled(request) in others:
                return False
            job.request = request
            return True

    def spent(self) -> dict[str, str]:
        """Artifacts that were kept for a choice that is made, by job."""
        with self.database.read() as session:
            return {job.id: str(job.artifact) for job in JobRepository(session).spent()}

    def let_go(self, ids: Collection[str]) -> None:
        """These jobs keep no artifact any more."""
        with self.database.write() as session:
            for job in JobRepository(session).spent():
                job.artifact = None if job.id in ids else job.artifact

    def succeed(
        self, claim: Claim, finish: Callable[[Session], dict[str, Any]], *, artifact: str | None = None
    ) -> None:
        """End well: `finish` registers what was made in the same transaction and returns the result; `artifact`
        is kept for the parent to choose from. Raises `Lost`."""
        with self._held(claim) as (session, jobs, job, now):
            job.result, job.artifact = finish(session), artifact
            job.progress = {**job.progress, "fraction": 1.0, "eta_seconds": 0.0}
            job.checkpoint = None
            jobs.moved(job, "succeeded", "done", now)

    def fail(self, claim: Claim, problem: dict[str, Any]) -> None:
        """End badly, with a problem that says what to do. Raises `Lost`."""
        with self._held(claim) as (_, jobs, job, now):
            job.error, job.checkpoint = problem, None
            jobs.moved(job, "failed", problem["detail"], now)

    def stopped(self, claim: Claim) -> None:
        """The child stopped as was asked: cancelled or paused. Raises `Lost`."""
        with self._held(claim) as (_, jobs, job, now):
            paused = job.state == "pausing"
            jobs.moved(job, "paused" if paused else "cancelled", "stopped between two batches, as asked", now)

    def hand_back(self, claim: Claim, reason: str) -> None:
        """Return the job to the queue; an attempt that the worker ended itself does not count. Raises `Lost`."""
        with self._held(claim) as (_, jobs, job, now):
            if not _as_asked(jobs, job, reason, now):
                job.attempt -= 1
                _again(jobs, job, reason, now, 0.0)

    def died(self, claim: Claim, how: str, *, killed: bool = False) -> None:
        """The process that did the work ended without a word, and this worker lives; `killed`: by somebody else's
        hand. Raises `Lost`."""
        with self._held(claim) as (_, jobs, job, now):
            job.fence += 1  # nothing that it said last is heard any more
            reason = f"the process that ran the job died: {how}"
            if not _as_asked(jobs, job, reason, now):
                job.deaths += not killed
                _strike(jobs, job, reason, process_died(job, how), now)

    def falter(self, claim: Claim, problem: dict[str, Any]) -> None:
        """The work met a fault that may pass: it is tried again later, and fails with the problem where that happens
        too often in a row. Raises `Lost`."""
        with self._held(claim) as (_, jobs, job, now):
            if not _as_asked(jobs, job, problem["detail"], now):
                _strike(jobs, job, problem["detail"], problem, now)

    def reap(self) -> int:
        """Take jobs from workers that are silent; returns how many."""
        with self.database.read() as session:
            if not JobRepository(session).expired_ids(self.database.now(session)):
                return 0
        with self.database.write() as session:
            jobs, now = JobRepository(session), self.database.now(session)
            found = jobs.expired(now)
            for job in found:
                job.fence += 1  # whoever held it may still be alive: it can write no more
                reason = f"the worker {job.worker} was lost"
                if not _as_asked(jobs, job, reason, now):
                    _strike(jobs, job, reason, worker_lost(job.strikes + 1), now)
            return len(found)


def _child(job: Job) -> Child:
    return Child(
        id=job.id, state=job.state, request=job.request, result=job.result, error=job.error, artifact=job.artifact
    )


def settled(request: dict[str, Any]) -> dict[str, Any]:
    """What a trial tries; nothing where that is not decided yet."""
    return {name: value for name, value in request["varies"].items() if name != "trial"}


def _strike(jobs: JobRepository, job: Job, reason: str, problem: dict[str, Any], now: datetime) -> None:
    """Back to the queue, each time for longer; in the end the job fails with the problem."""
    job.strikes += 1
    if job.strikes >= STRIKES or job.deaths >= DEATHS:
        job.error = problem
        jobs.moved(job, "failed", problem["detail"], now)
    else:
        _again(jobs, job, reason, now, min(LONGEST, BACK_OFF * 2 ** (job.strikes - 1)))


def process_died(job: Job, how: str) -> dict[str, Any]:
    """The problem of a job that its own process does not survive, this time included."""
    times = job.deaths if job.deaths >= DEATHS else job.strikes + 1
    detail = f"{times} times in a row the process that ran this job was ended, the last time by {how}"
    remedy = "see the worker's log for its last words, and report them: this is a fault of the service or of a library"
    if "SIGKILL" in how:
        remedy = (
            "look for the kernel's out-of-memory killer in the system's log; "
            "lower `batch_steps` or `hidden`, then retry the job"
        )
    return problem("worker-lost", detail, remedy)


def worker_lost(strikes: int) -> dict[str, Any]:
    """The problem of a job that no worker survives."""
    return problem(
        "worker-lost",
        f"{strikes} times in a row a worker that ran this job was lost, or could not run it",
        "see in the system's log what ends the workers (a memory limit over worker and job together is the usual "
        "cause: give it more, or lower `batch_steps` or `hidden`), then retry the job",
    )


def _as_asked(jobs: JobRepository, job: Job, reason: str, now: datetime) -> bool:
    """A job that was to stop has stopped, however it came about; True where that was so."""
    ends = {"cancelling": "cancelled", "pausing": "paused"}
    if job.state not in ends:
        return False
    jobs.moved(job, ends[job.state], f"{reason} while it was {job.state}", now)
    return True


def _again(jobs: JobRepository, job: Job, reason: str, now: datetime, delay: float) -> None:
    job.not_before = now + timedelta(seconds=delay) if delay else None
    jobs.moved(job, "queued", reason, now)
