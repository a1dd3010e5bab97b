"""Use cases of the `Idempotency-Key`: the same request sent twice is done once. Knows no HTTP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy.exc import IntegrityError

from app.db.engine import Database
from app.db.repositories.answers import AnswerRepository
from app.db.tables import StoredAnswer
from app.errors import Conflict, Flaw, Invalid

IN_FLIGHT = timedelta(minutes=15)
"""After this time an answer that never came is taken to be lost with its process."""
KEPT = timedelta(days=2)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What was answered."""

    status: int
    body: dict[str, Any]
    location: str | None


class Answers:
    """The stored answers of a database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def once(self, key: str | None, *, route: str, owner: str, digest: str, work: Callable[[], Answer]) -> Answer:
        """The stored answer for this key, or that of `work`. Raises `Conflict` while the first is in flight,
        `Invalid` when the key came with another body."""
        if key is None:
            return work()
        if not 1 <= len(key) <= 200 or not key.isprintable():
            raise Invalid("the Idempotency-Key must have 1 to 200 printable characters")
        stored = self._begin(key, route, owner, digest)
        if stored is not None:
            return stored
        try:
            answer = work()
        except BaseException:
            self._end(key, route, owner, None)
            raise
        self._end(key, route, owner, answer)
        return answer

    def _begin(self, key: str, route: str, owner: str, digest: str) -> Answer | None:
        try:
            with self.database.write() as session:
                answers, now = AnswerRepository(session), self.database.now(session)
                answers.expire(now - KEPT)
                found = answers.get(route, key, owner)
                if found is not None and found.status is None and found.created_at < now - IN_FLIGHT:
                    answers.delete(found)
                    found = None
                if found is None:
                    answers.add(StoredAnswer(route=route, key=key, owner=owner, digest=digest, created_at=now))
                    return None
                if found.digest != digest:
                    flaw = Flaw(detail="this key was used with another body; take a new one")
                    raise Invalid(flaw.detail, errors=[flaw])
                if found.status is None:
                    raise Conflict("the first request with this Idempotency-Key is still in flight")
                return Answer(status=found.status, body=found.body or {}, location=found.location)
        except IntegrityError:
            raise Conflict("the first request with this Idempotency-Key is still in flight") from None

    def _end(self, key: str, route: str, owner: str, answer: Answer | None) -> None:
        with self.database.write() as session:
            answers = AnswerRepository(session)
            found = answers.get(route, key, owner)
            if found is None:
                return
            if answer is None:
                answers.delete(found)
            else:
                found.status, found.body, found.location = answer.status, answer.body, answer.location
