"""Use cases of jobs: submit, look, steer. Knows transactions and the catalogue; no HTTP, no torch."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.db.engine import Database
from app.db.repositories.datasets import DatasetRepository
from app.db.repositories.jobs import ENDED, JobRepository
from app.db.repositories.models import ModelRepository
from app.db.repositories.vectors import VectorRepository
from app.db.tables import Job, JobEvent
from app.errors import Conflict, Flaw, Full, Invalid, NotFound
from app.services.pages import Page, decode, page
from app.settings import Settings
from models import catalog

NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
Name = Annotated[str, Field(pattern=NAME)]
State = Literal["queued", "running", "cancelling", "cancelled", "pausing", "paused", "succeeded", "failed"]


class TrainRequest(BaseModel):
    """A training to be done."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: Literal["train"] = "train"
    task: Name = Field(description="Name of the task.")
    dataset: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Id or name of the data set.")
    model: Name = Field(description="Name to register the version under.")
    config: dict[str, Any] = Field(default_factory=dict, description="Options of the task's `config` schema.")
    priority: int = Field(0, ge=-100, le=100, description="Higher ones run first.")
    promote: Literal["if_better", "always", "never"] = Field("if_better", description="When `production` moves to it.")
    max_seconds: float | None = Field(None, gt=0, le=30 * 86_400, description="Stop learning after this time.")


class ProgressView(BaseModel):
    """How far a job is."""

    fraction: float = 0.0
    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    eta_seconds: float | None = None


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
    """A place in a training."""

    epoch: int
    step: int


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


class Jobs:
    """The jobs of a database."""

    def __init__(self, database: Database, *, settings: Settings) -> None:
        self.database, self.settings = database, settings

    def submit(self, request: TrainRequest, *, key: str | None = None) -> JobView:
        """Queue a job. Raises `Invalid` with the place of each fault, `NotFound`, `Conflict`, `Full`."""
        config = _checked(request)
        with self.database.write() as session:
            jobs, now = JobRepository(session), self.database.now(session)
            if jobs.waiting() >= self.settings.max_jobs:
                raise Full(f"{self.settings.max_jobs} jobs are waiting already", retry_after=60)
            dataset = DatasetRepository(session).get(request.dataset)
            if dataset is None:
                raise NotFound(f"no data set '{request.dataset}'")
            if dataset.task != request.task:
                raise Conflict(f"the data set '{request.dataset}' is for {dataset.task}, not {request.task}")
            model = ModelRepository(session).model(request.model)
            if model is not None and model.task != request.task:
                raise Conflict(f"the model '{request.model}' is for {model.task}, not {request.task}")
            vectors = config.get("vectors")
            if vectors is not None and VectorRepository(session).get(vectors) is None:
                flaw = Flaw(detail=f"no word vectors '{vectors}'", pointer="/config/vectors")
                raise Invalid(flaw.detail, errors=[flaw])
            job = Job(
                id=f"job_{secrets.token_hex(10)}",
                kind=request.kind,
                task=request.task,
                state="queued",
                priority=request.priority,
                request={**request.model_dump(mode="json", exclude_none=True), "config": config},
                dataset=dataset.id,
                model=request.model,
                key=key,
                progress={"fraction": 0.0},
                metrics={},
                attempt=0,
                fence=0,
                created_at=now,
            )
            jobs.add(job)
            jobs.moved(job, "queued", "submitted", now)
            session.flush()
            return _view(jobs, job)

    def get(self, id: str) -> JobView:  # noqa: A002
        """Raises `NotFound`."""
        with self.database.read() as session:
            jobs = JobRepository(session)
            return _view(jobs, _found(jobs, id))

    def list(self, *, filters: Mapping[str, str], page_size: int, page_token: str) -> Page[JobView]:
        """The newest first; `filters` are columns and their values."""
        with self.database.read() as session:
            jobs = JobRepository(session)
            rows = jobs.page(filters=filters, after=decode(page_token), limit=page_size + 1)
            return page(rows, page_size, lambda job: _view(jobs, job), lambda job: (job.created_at, job.id))

    def cancel(self, id: str) -> JobView:  # noqa: A002
        """Stop a job for good."""
        moves = {"queued": "cancelled", "paused": "cancelled", "running": "cancelling", "pausing": "cancelling"}
        return self._steer(id, "cancel", moves)

    def pause(self, id: str) -> JobView:  # noqa: A002
        """Stop a job for a while."""
        return self._steer(id, "pause", {"queued": "paused", "running": "pausing"})

    def resume(self, id: str) -> JobView:  # noqa: A002
        """Go on with a paused or cancelled job, from its latest checkpoint."""
        return self._steer(id, "resume", {"paused": "queued", "cancelled": "queued"})

    def retry(self, id: str) -> JobView:  # noqa: A002
        """Begin a failed or cancelled job again, from its start."""
        return self._steer(id, "retry", {"failed": "queued", "cancelled": "queued"}, anew=True)

    def _steer(self, id: str, verb: str, moves: Mapping[str, str], *, anew: bool = False) -> JobView:  # noqa: A002
        with self.database.write() as session:
            jobs, now = JobRepository(session), self.database.now(session)
            job = _found(jobs, id, lock=True)
            if job.state not in moves:
                possible = " or ".join(moves)
                raise Conflict(f"the job is {job.state}; {verb} needs one that is {possible}")
            if job.state in ENDED:
                if job.dataset is None:
                    raise Conflict("the data set of this job was deleted")
                job.attempt, job.error, job.ended_at = 0, None, None
            if anew:
                job.checkpoint = None
            job.strikes = 0
            job.not_before = None
            jobs.moved(job, moves[job.state], f"{verb} was asked for", now)
            session.flush()
            return _view(jobs, job)

    def delete(self, id: str) -> None:  # noqa: A002
        """Forget an ended job. Raises `NotFound`, `Conflict`."""
        with self.database.write() as session:
            jobs = JobRepository(session)
            job = _found(jobs, id, lock=True)
            if job.state not in ENDED:
                raise Conflict(f"the job is {job.state}; cancel it first")
            jobs.delete(id)

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


def _checked(request: TrainRequest) -> dict[str, Any]:
    """The whole config of a request, defaults filled in. Raises `Invalid`, `NotFound`."""
    try:
        card = catalog.card(request.task)
    except catalog.UnknownTask as error:
        flaw = Flaw(detail=str(error), pointer="/task")
        raise Invalid(str(error), errors=[flaw]) from None
    try:
        return card.config.model_validate(request.config).model_dump(mode="json")
    except ValidationError as error:
        flaws = [
            Flaw(detail=each["msg"], pointer="/config/" + "/".join(str(p) for p in each["loc"][:1]))
            for each in error.errors(include_url=False, include_input=False)
        ]
        raise Invalid(f"the config does not fit the task '{request.task}'", errors=flaws) from None


def _found(jobs: JobRepository, id: str, *, lock: bool = False) -> Job:  # noqa: A002
    job = jobs.get(id, lock=lock)
    if job is None:
        raise NotFound(f"no job '{id}'")
    return job


def _event(event: JobEvent) -> EventView:
    return EventView(id=event.id, kind=event.kind, at=event.at, data=event.data)


def _view(jobs: JobRepository, job: Job) -> JobView:
    moves = jobs.events(job.id, kinds=["state"])
    return JobView(
        **{name: getattr(job, name) for name in JobView.model_fields if name not in {"transitions", "progress"}},
        progress=ProgressView.model_validate(job.progress),
        transitions=[TransitionView(at=move.at, **move.data) for move in moves],
    )
