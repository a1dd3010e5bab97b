"""Queries on stored answers. Knows the table; commits nothing."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete
from sqlalchemy.orm import Session

from app.db.tables import StoredAnswer


class AnswerRepository:
    """Answers to requests that carried an `Idempotency-Key`."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def get(self, route: str, key: str, owner: str) -> StoredAnswer | None:
        return self.session.get(StoredAnswer, (route, key, owner))

    def add(self, answer: StoredAnswer) -> None:
        self.session.add(answer)
        self.session.flush()

    def delete(self, answer: StoredAnswer) -> None:
        self.session.delete(answer)
        self.session.flush()

    def expire(self, before: datetime) -> None:
        self.session.execute(delete(StoredAnswer).where(StoredAnswer.created_at < before))
