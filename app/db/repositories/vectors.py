"""Queries on uploaded word vectors. Knows the tables; commits nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select, text, tuple_
from sqlalchemy.orm import Session

from app.db.tables import VectorFile


class VectorRepository:
    """Uploaded word vectors."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def lock(self) -> None:
        """Let no other writer in until the end; SQLite's writers are alone already."""
        if self.session.get_bind().dialect.name == "postgresql":
            self.session.execute(text("LOCK TABLE vectors IN SHARE ROW EXCLUSIVE MODE"))

    def add(self, vectors: VectorFile) -> None:
        self.session.add(vectors)
        self.session.flush()

    def get(self, name: str) -> VectorFile | None:
        return self.session.scalar(select(VectorFile).where(VectorFile.name == name))

    def page(self, *, after: tuple[datetime, str] | None, limit: int) -> Sequence[VectorFile]:
        query = select(VectorFile)
        if after is not None:
            query = query.where(tuple_(VectorFile.created_at, VectorFile.name) < after)
        newest = query.order_by(VectorFile.created_at.desc(), VectorFile.name.desc())
        return self.session.scalars(newest.limit(limit)).all()

    def delete(self, name: str) -> None:
        self.session.execute(delete(VectorFile).where(VectorFile.name == name))

    def uses_blob(self, blob: str) -> bool:
        return self.session.scalar(select(VectorFile.name).where(VectorFile.blob == blob).limit(1)) is not None
