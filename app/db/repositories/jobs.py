"""Queries on jobs and their events. Knows the tables; commits nothing.

A worker's writes name its fencing token: `held` finds the job only while the token is the latest.

A parent waits for its children without a worker: each move of a child tells it (`_told`), in the same
transaction. Whoever locks both locks the children first, in the order of their ids, and then the parent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, delete, false, func, literal, or_, select, tuple_
from sqlalchemy.orm import Session

from app.db.notices import notify, ring
from app.db.tables import Job, JobEvent

ACTIVE = ("running", "cancelling", "pausing")
ENDED = ("cancelled", "succeeded", "failed")


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A device on which a worker can run a job now."""

    device: str
    kind: str
    memory: int
    """Bytes that a job may count on."""
    general: bool
    """Whether jobs run here that ask for no device."""

    def fits(self, job: Job) -> bool:
        if job.needs_device is None:
            return self.general and job.needs_memory <= self.memory
        return job.needs_device in {self.device, self.kind} and job.needs_memory <= self.memory


class JobRepository:
    """Jobs and what happened to them."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def add(self, job: Job) -> None:
        self.session.add(job)
        self.session.flush()

    def get(self, id: str, *, lock: bool = False) -> Job | None:  # noqa: A002
        query = select(Job).where(Job.id == id)
        return self.session.scalar(query.with_for_update() if lock else query)

    def children(self, parent: str, *, lock: bool = False) -> Sequence[Job]:
        """The children of a job, in the order they were made; locked in that of their ids."""
        query = select(Job).where(Job.parent == parent)
        if not lock:
            return self.session.scalars(query.order_by(Job.created_at, Job.id)).all()
        found = self.session.scalars(query.order_by(Job.id).with_for_update()).all()
        return sorted(found, key=lambda job: (job.created_at, job.id))

    def spent(self) -> Sequence[Job]:
        """Children that still keep an artifact though their parent has chosen."""
        chosen = select(Job.id).where(Job.state == "succeeded")
        return self.session.scalars(select(Job).where(Job.artifact.is_not(None), Job.parent.in_(chosen))).all()

    def page(
        self, *, filters: Mapping[str, str | None], after: tuple[datetime, str] | None, limit: int
    ) -> Sequence[Job]:
        query = select(Job).where(*(getattr(Job, name) == value for name, value in filters.items()))
        if after is not None:
            query = query.where(tuple_(Job.created_at, Job.id) < after)
        return self.session.scalars(query.order_by(Job.created_at.desc(), Job.id.desc()).limit(limit)).all()

    def waiting(self) -> int:
        queued = select(func.count()).select_from(Job).where(Job.state == "queued")
        return self.session.scalar(queued) or 0

    def leased(self, now: datetime) -> int:
        """Jobs that a worker holds, and has said so lately."""
        held = select(func.count()).select_from(Job)
        return self.session.scalar(held.where(Job.state.in_(ACTIVE), Job.lease_until >= now)) or 0

    def counts(self) -> dict[str, int]:
        rows = self.session.execute(select(Job.state, func.count()).group_by(Job.state)).all()
        return dict(rows)

    def of_dataset(self, dataset: str) -> str | None:
        """A job that still needs a data set."""
        needing = select(Job.id).where(Job.dataset == dataset, Job.state.not_in(ENDED))
        return self.session.scalar(needing.limit(1))

    def of_version(self, reference: str) -> str | None:
        """A job that still needs a version, `name:version`: to ask it, or to begin with its weights."""
        return self._needing(lambda asked: reference in (asked["model"], asked.get("warm_start")))

    def of_vectors(self, name: str) -> str | None:
        """A job that still needs word vectors: all of its trainings do, or one of those that a study may try."""

        def needs(asked: Mapping[str, Any]) -> bool:
            choices = asked.get("search", {}).get("vectors")
            return asked.get("config", {}).get("vectors") == name or (isinstance(choices, list) and name in choices)

        return self._needing(needs)

    def _needing(self, needs: Callable[[Mapping[str, Any]], bool]) -> str | None:
        """A job that has not ended, whose request needs something."""
        found = self.session.execute(select(Job.id, Job.request).where(Job.state.not_in(ENDED)))
        return next((job for job, asked in found if needs(asked)), None)

    def forget_dataset(self, dataset: str) -> None:
        """Ended jobs let a data set go; their request still names it."""
        for job in self.session.scalars(select(Job).where(Job.dataset == dataset)):
            job.dataset = None
        self.session.flush()

    def due(self, now: datetime) -> bool:
        """Whether any job is to be run."""
        return self.session.scalar(select(Job.id).where(*_due(now)).limit(1)) is not None

    def claimable(self, now: datetime, offers: Sequence[Offer]) -> str | None:
        """The id of the next job to run on one of these devices."""
        found: str | None = self.session.scalar(_next(now, offers))
        return found

    def next(self, now: datetime, offers: Sequence[Offer]) -> Job | None:
        """The next job to run on one of these devices, locked; one that another is claiming is passed over."""
        id = self.session.scalar(_next(now, offers).with_for_update(of=Job, skip_locked=True))  # noqa: A001
        return None if id is None else self.get(id)

    def held(self, id: str, fence: int) -> Job | None:  # noqa: A002
        """The job, locked, if this claim of it is still the latest."""
        query = select(Job).where(Job.id == id, Job.fence == fence, Job.state.in_(ACTIVE))
        return self.session.scalar(query.with_for_update())

    def expired_ids(self, now: datetime) -> Sequence[str]:
        """Ids of the jobs that `expired` would find."""
        return self.session.scalars(select(Job.id).where(*_silent(now))).all()

    def expired(self, now: datetime) -> Sequence[Job]:
        """Jobs whose worker has been silent for longer than its lease, locked."""
        query = select(Job).where(*_silent(now))
        return self.session.scalars(query.with_for_update(skip_locked=True)).all()

    def delete(self, id: str) -> None:  # noqa: A002
        """Forget a job and its children."""
        gone = select(Job.id).where(or_(Job.id == id, Job.parent == id))
        self.session.execute(delete(JobEvent).where(JobEvent.job.in_(gone)))
        self.session.execute(delete(Job).where(or_(Job.id == id, Job.parent == id)))

    def happened(self, job: Job, kind: str, data: dict[str, Any], at: datetime) -> None:
        """Append an event."""
        self.session.add(JobEvent(job=job.id, kind=kind, at=at, data=data))
        notify(self.session, job.id)

    def moved(self, job: Job, state: str, reason: str, at: datetime) -> None:
        """Change the state, and say why."""
        job.state = state
        if state in ENDED:
            job.ended_at = at
        if state not in ACTIVE:
            job.lease_until = None
            job.worker = job.worker if state in ENDED else None
        self.happened(job, "state", {"state": state, "reason": reason}, at)
        if state == "queued":
            ring(self.session)
        if job.parent is not None:
            self._told(job, at)

    def _told(self, child: Job, at: datetime) -> None:
        """Carry a move of a child over to its parent, while that waits."""
        self.session.flush()
        parent = self.get(str(child.parent), lock=True)
        if parent is None or not parent.waits:
            return
        states = [each.state for each in self.children(parent.id)]
        if child.state in ENDED:
            self._child_ended(parent, child, sum(state in ENDED for state in states) / len(states), at)
        if all(state in ENDED for state in states):
            parent.waits = False
            ends = {"cancelling": "cancelled", "pausing": "paused", "paused": "paused"}
            end = ends.get(parent.state, "queued")
            if end != parent.state:
                self.moved(parent, end, "every child has ended", at)
        elif parent.state == "pausing" and not {"queued", *ACTIVE} & set(states):
            self.moved(parent, "paused", "every child has stopped", at)
        elif parent.state == "queued" and child.state == "running":
            parent.started_at = parent.started_at or at
            self.moved(parent, "running", f"its child {child.id} began", at)

    def _child_ended(self, parent: Job, child: Job, fraction: float, at: datetime) -> None:
        parent.progress = {"fraction": round(fraction, 4)}
        self.happened(parent, "progress", parent.progress, at)
        what = ", ".join(f"{name} {_short(value)}" for name, value in child.request.get("varies", {}).items())
        level = "info" if child.state == "succeeded" else "warning"
        pruned = (child.result or {}).get("pruned")
        end = child.state if pruned is None else f"pruned after epoch {pruned}"
        self.happened(parent, "log", {"level": level, "text": f"{what}: {end} ({child.id})"}, at)

    def events(self, job: str, *, kinds: Sequence[str] = (), after: int = 0, limit: int = 1000) -> Sequence[JobEvent]:
        query = select(JobEvent).where(JobEvent.job == job, JobEvent.id > after)
        if kinds:
            query = query.where(JobEvent.kind.in_(kinds))
        return self.session.scalars(query.order_by(JobEvent.id).limit(limit)).all()


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _due(now: datetime) -> tuple[Any, ...]:
    return Job.state == "queued", Job.waits.is_(False), or_(Job.not_before.is_(None), Job.not_before <= now)


def _next(now: datetime, offers: Sequence[Offer]) -> Any:
    """The highest priority first; of equal ones that of the owner with the fewest jobs at work, so that nobody's
    thousand jobs hold up another's one; then the oldest."""
    owner = func.coalesce(Job.key, "")
    at_work = (
        select(owner.label("owner"), func.count().label("jobs"))
        .where(Job.state.in_(ACTIVE), Job.waits.is_(False))
        .group_by(owner)
        .subquery()
    )
    fits = [
        and_(
            Job.needs_memory <= offer.memory,
            Job.needs_device.in_((offer.device, offer.kind)) | (Job.needs_device.is_(None) & literal(offer.general)),
        )
        for offer in offers
    ]
    busy = func.coalesce(at_work.c.jobs, 0)
    ready = select(Job.id).outerjoin(at_work, at_work.c.owner == owner).where(*_due(now), or_(false(), *fits))
    return ready.order_by(Job.priority.desc(), busy, Job.created_at, Job.id).limit(1)


def _silent(now: datetime) -> tuple[Any, ...]:
    """A parent that waits has no worker, and none that could be silent."""
    return Job.state.in_(ACTIVE), Job.waits.is_(False), Job.lease_until < now


def lease(now: datetime, seconds: float) -> datetime:
    """When a lease taken now ends."""
    return now + timedelta(seconds=seconds)
