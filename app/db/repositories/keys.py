"""Queries on API keys. Knows the table; commits nothing."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import Key


class KeyRepository:
    """API keys."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def add(self, key: Key) -> None:
        self.session.add(key)
        self.session.flush()

    def get(self, id: str) -> Key | None:  # noqa: A002
        return self.session.get(Key, id)

    def all(self) -> Sequence[Key]:
        return self.session.scalars(select(Key).order_by(Key.created_at)).all()

    def any(self) -> bool:
        return self.session.scalar(select(Key.id).where(Key.revoked_at.is_(None)).limit(1)) is not None
