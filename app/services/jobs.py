"""Use cases of jobs: submit, look, steer. Knows transactions and the catalogue; no HTTP, no torch."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.db.engine import Database
from app.db.repositories.jobs import ENDED, JobRepository
from app.db.tables import Job, JobEvent
from app.errors import Conflict, Full, NotFound
from app.services.admission import Admitted, admitted
from app.services.children import children
from app.services.pages import Page, decode, page
from app.services.requests import AnyRequest
from app.settings import Settings

State = Literal["queued", "running", "cancelling", "cancelled", "pausing", "paused", "succeeded", "failed"]

MOVES: dict[str, dict[str, str]] = {
    "cancel": {"queued": "cancelled", "paused": "cancelled", "running": "cancelling", "pausing": "cancelling"},
    "pause": {"queued": "paused", "running": "pausing"},
    "resume": {"paused": "queued", "cancelled": "queued"},
    "retry": {"failed": "queued", "cancelled": "queued"},
}
"""What can be asked of a job, and where that takes it from each state that allows it."""
PARENTS = {"compare", "tune"}
"""Kinds of jobs that are made of children."""
ON_THE_WAY = {"cancelled": "cancelling", "paused": "pausing"}
"""A parent stops on the way, until its last child has stopped."""


class ProgressView(BaseModel):
    """How far a job is."""

    fraction: float = 0.0
    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    row: int | None = Field(None, description="Rows that a bulk prediction has answered.")
    rows: int | None = Field(None, description="Rows that it has to answer.")
    failed: int | None = Field(None, description="Those of the answered ones that have an error for an answer.")
    rows_per_second: float | None = None
    eta_seconds: float | None = None


class ChildView(BaseModel):
    """A child of a job, in short."""

    id: str
    state: State
    fraction: float
    varies: dict[str, Any] = Field(description="The options in which it differs from its siblings.")


class EventView(BaseModel):
    """Something that happened to a job."""

    id: int
    kind: str
    at: datetime
    data: dict[str, Any]


class TransitionView(BaseModel):
    """A state that was entered, and why."""

    state: State
    at: datetime
    reason: str


class PlaceView(BaseModel):
    """A place in a job: an epoch and a step of a training, a row of a bulk prediction, a batch of an evaluation."""

    epoch: int | None = None
    step: int | None = None
    row: int | None = None


class JobView(BaseModel):
    """A job as clients see it."""

    id: str
    kind: str
    task: str | None
    state: State
    priority: int
    request: dict[str, Any]
    progress: ProgressView
    metrics: dict[str, float]
    attempt: int
    resumed_from: PlaceView | None = Field(None, description="Checkpoint that the latest attempt went on from.")
    checkpoint: PlaceView | None = Field(None, description="The latest checkpoint, from which `resume` goes on.")
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    heartbeat_at: datetime | None
    worker: str | None
    device: str | None
    transitions: list[TransitionView]
    error: dict[str, Any] | None
    result: dict[str, Any] | None
    parent: str | None = Field(description="The job that this one is a part of.")
    children: list[ChildView] = Field(description="The trainings that this job is made of.")


class Jobs:
    """The jobs of a database."""

    def __init__(self, database: Database, *, settings: Settings) -> None:
        self.database, self.settings = database, settings

    def submit(self, request: AnyRequest, *, key: str | None = None) -> JobView:
        """Queue a job, and its children with it. Raises `Invalid` with the place of each fault, `NotFound`,
        `Conflict`, `Full`."""
        parts = children(request)
        with self.database.write() as session:
            jobs, now = JobRepository(session), self.database.now(session)
            room = self.settings.max_jobs - jobs.waiting()
            if room < max(1, len(parts)):
                held = f"{self.settings.max_jobs} jobs may wait at once, and there is room for {max(0, room)}"
                raise Full(f"{held}: this one needs {max(1, len(parts))}", retry_after=60)
            found = admitted(session, request)
            job = _queued(jobs, found, key=key, now=now)
            for text in found.warnings:
                jobs.happened(job, "log", {"level": "warning", "text": f"the data set: {text}"}, now)
            job.waits = bool(parts)
            for index, part in enumerate(parts):
                made = now + timedelta(microseconds=index + 1)  # they run in this order
                _queued(jobs, replace(found, request=part), key=key, now=made, parent=job.id)
            session.flush()
            return _view(jobs, job)

    def get(self, id: str) -> JobView:  # noqa: A002
        """Raises `NotFound`."""
        with self.database.read() as session:
            jobs = JobRepository(session)
            return _view(jobs, _found(jobs, id))

    def list(self, *, filters: Mapping[str, str], page_size: int, page_token: str) -> Page[JobView]:
        """The newest first; `filters` are columns and their values. Children are told only of a `parent` named."""
        with self.database.read() as session:
            jobs = JobRepository(session)
            rows = jobs.page(filters={"parent": None, **filters}, after=decode(page_token), limit=page_size + 1)
            return page(rows, page_size, lambda job: _view(jobs, job), lambda job: (job.created_at, job.id))

    def cancel(self, id: str) -> JobView:  # noqa: A002
        """Stop a job for good."""
        return self._steer(id, "cancel")

    def pause(self, id: str) -> JobView:  # noqa: A002
        """Stop a job for a while."""
        return self._steer(id, "pause")

    def resume(self, id: str) -> JobView:  # noqa: A002
        """Go on with a paused or cancelled job, from its latest checkpoint."""
        return self._steer(id, "resume")

    def retry(self, id: str) -> JobView:  # noqa: A002
        """Begin a failed or cancelled job again, from its start."""
        return self._steer(id, "retry")

    def _steer(self, id: str, verb: str) -> JobView:  # noqa: A002
        with self.database.write() as session:
            jobs, now = JobRepository(session), self.database.now(session)
            parts = jobs.children(id, lock=True)  # before their parent, as every move of theirs does
            job, moves = _found(jobs, id, lock=True), MOVES[verb]
            if job.parent is not None:
                raise Conflict(f"the job is a part of {job.parent}; {verb} that one")
            if job.state not in moves:
                raise Conflict(f"the job is {job.state}; {verb} needs one that is {' or '.join(moves)}")
            if job.state in ENDED and job.dataset is None:
                raise Conflict("the data set of this job was deleted")
            goal = moves[job.state]
            movable = [part for part in parts if part.state in moves]
            if goal == "queued":
                job.waits = any(part.state not in ENDED or part in movable for part in parts)
            stops = job.waits and goal != "queued"
            _move(jobs, job, ON_THE_WAY.get(goal, goal) if stops else goal, verb, now)
            for part in movable:
                _move(jobs, part, moves[part.state], verb, now)
            session.flush()
            return _view(jobs, job)

    def delete(self, id: str) -> Sequence[str]:  # noqa: A002
        """Forget an ended job and its children; returns the blobs that were kept for them alone. What several jobs
        may share by its bytes, the pieces and lines of bulk predictions, is left to the sweep.
        Raises `NotFound`, `Conflict`."""
        with self.database.write() as session:
            jobs = JobRepository(session)
            parts = jobs.children(id, lock=True)
            job = _found(jobs, id, lock=True)
            if job.parent is not None:
                raise Conflict(f"the job is a part of {job.parent}; delete that one")
            if job.state not in ENDED:
                raise Conflict(f"the job is {job.state}; cancel it first")
            jobs.delete(id)
            checkpoints = [(each.checkpoint or {}).get("blob") for each in (job, *parts)]
            return [*filter(None, checkpoints), *(part.artifact for part in parts if part.artifact is not None)]

    def events(self, id: str, *, kinds: Sequence[str] = (), after: int = 0, limit: int = 1000) -> Sequence[EventView]:  # noqa: A002
        """What happened after an event, in order. Raises `NotFound`."""
        with self.database.read() as session:
            jobs = JobRepository(session)
            _found(jobs, id)
            return [_event(event) for event in jobs.events(id, kinds=kinds, after=after, limit=limit)]

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        with self.database.read() as session:
            return JobRepository(session).counts()


def _queued(jobs: JobRepository, asked: Admitted, *, key: str | None, now: datetime, parent: str | None = None) -> Job:
    """A new job of a request, or of that of a child."""
    needs = asked.request.get("needs") or {}
    job = Job(
        id=f"job_{secrets.token_hex(10)}",
        kind=asked.request["kind"],
        task=asked.task,
        state="queued",
        priority=asked.request["priority"],
        request=asked.request,
        dataset=asked.dataset,
        model=asked.model,
        key=key,
        parent=parent,
        waits=False,
        needs_device=needs.get("device"),
        needs_memory=needs.get("memory", 0),
        progress={"fraction": 0.0},
        metrics={},
        attempt=0,
        fence=0,
        created_at=now,
    )
    jobs.add(job)
    jobs.moved(job, "queued", "submitted", now)
    return job


def _move(jobs: JobRepository, job: Job, state: str, verb: str, now: datetime) -> None:
    """Move a job as was asked; one that had ended begins its attempts afresh, and `retry` all of its work."""
    if job.state in ENDED:
        job.attempt, job.error, job.ended_at = 0, None, None
    if verb == "retry":
        job.checkpoint = job.resumed_from = None
        job.progress, job.metrics = {"fraction": 0.0}, {}
    job.strikes, job.deaths, job.not_before = 0, 0, None
    jobs.moved(job, state, f"{verb} was asked for", now)


def _found(jobs: JobRepository, id: str, *, lock: bool = False) -> Job:  # noqa: A002
    job = jobs.get(id, lock=lock)
    if job is None:
        raise NotFound(f"no job '{id}'")
    return job


def _event(event: JobEvent) -> EventView:
    return EventView(id=event.id, kind=event.kind, at=event.at, data=event.data)


def _view(jobs: JobRepository, job: Job) -> JobView:
    moves = jobs.events(job.id, kinds=["state"])
    parts = [_child(part) for part in jobs.children(job.id)] if job.kind in PARENTS else []
    progress = ProgressView.model_validate(job.progress)
    if job.waits:
        progress = progress.model_copy(update={"fraction": sum(part.fraction for part in parts) / len(parts)})
    own = JobView.model_fields.keys() - {"transitions", "progress", "children"}
    return JobView(
        **{name: getattr(job, name) for name in own},
        progress=progress,
        transitions=[TransitionView(at=move.at, **move.data) for move in moves],
        children=parts,
    )


def _child(job: Job) -> ChildView:
    fraction = 1.0 if job.state in ENDED else job.progress.get("fraction", 0.0)
    return ChildView(id=job.id, state=job.state, fraction=fraction, varies=job.request.get("varies", {}))  # type: ignore[arg-type]
