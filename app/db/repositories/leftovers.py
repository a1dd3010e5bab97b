"""Queries on what nobody needs any more, and on what somebody still does. Knows the tables; commits nothing."""

from __future__ import annotations

import json
import re
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import Session

from app.db.repositories.jobs import ENDED
from app.db.tables import Dataset, Job, JobEvent, StoredAnswer, VectorFile, Version, Worker

DIGEST = re.compile(r"\b[0-9a-f]{64}\b")


class LeftoverRepository:
    """Old events, checkpoints, answers and workers; and the blobs that rows name."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def blobs(self) -> set[str]:
        """Every blob that a row names: in a column of its own, or anywhere in what is written of a job."""
        named: set[str] = set()
        for column in (Dataset.blob, VectorFile.blob, Version.blob):
            named.update(self.session.scalars(select(column)))
        rows = self.session.execute(select(Job.artifact, Job.checkpoint, Job.result))
        for row in rows:
            named.update(DIGEST.findall(json.dumps(list(row))))
        return named

    def forget_checkpoints(self, before: datetime) -> int:
        """Jobs that ended long ago are not gone on with."""
        old = Job.ended_at < before, Job.state.in_(ENDED), Job.checkpoint.is_not(None)
        ids = self.session.scalars(select(Job.id).where(*old)).all()
        for job in self.session.scalars(select(Job).where(Job.id.in_(ids))):
            job.checkpoint = None
        return len(ids)

    def forget_events(self, before: datetime, *, kinds: tuple[str, ...]) -> int:
        """What happened in jobs that ended before a moment."""
        ended = select(Job.id).where(Job.ended_at < before, Job.state.in_(ENDED))
        gone = delete(JobEvent).where(JobEvent.job.in_(ended), JobEvent.kind.in_(kinds))
        return self._count(self.session.execute(gone))

    def forget_answers(self, before: datetime) -> int:
        return self._count(self.session.execute(delete(StoredAnswer).where(StoredAnswer.created_at < before)))

    def forget_workers(self, before: datetime) -> int:
        return self._count(self.session.execute(delete(Worker).where(Worker.heartbeat_at < before)))

    @staticmethod
    def _count(result: object) -> int:
        return result.rowcount if isinstance(result, CursorResult) else 0
