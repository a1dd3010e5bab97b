"""Queries on data sets. Knows the tables; commits nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, or_, select, text, tuple_
from sqlalchemy.orm import Session

from app.db.tables import Dataset


class DatasetRepository:
    """Uploaded data sets."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def lock(self) -> None:
        """Let no other writer in until the end, so that a blob in use cannot be taken for an unused one.

        SQLite's writers are alone already.
        """
        if self.session.get_bind().dialect.name == "postgresql":
            self.session.execute(text("LOCK TABLE datasets IN SHARE ROW EXCLUSIVE MODE"))

    def add(self, dataset: Dataset) -> None:
        self.session.add(dataset)
        self.session.flush()

    def get(self, id_or_name: str) -> Dataset | None:
        """The data set of that id, else the newest of that name."""
        query = select(Dataset).where(or_(Dataset.id == id_or_name, Dataset.name == id_or_name))
        newest = query.order_by((Dataset.id == id_or_name).desc(), Dataset.created_at.desc(), Dataset.id.desc())
        return self.session.scalar(newest.limit(1))

    def page(self, *, task: str | None, after: tuple[datetime, str] | None, limit: int) -> Sequence[Dataset]:
        query = select(Dataset)
        if task is not None:
            query = query.where(Dataset.task == task)
        if after is not None:
            query = query.where(tuple_(Dataset.created_at, Dataset.id) < after)
        return self.session.scalars(query.order_by(Dataset.created_at.desc(), Dataset.id.desc()).limit(limit)).all()

    def delete(self, id: str) -> None:  # noqa: A002
        self.session.execute(delete(Dataset).where(Dataset.id == id))

    def uses_blob(self, blob: str) -> bool:
        return self.session.scalar(select(Dataset.id).where(Dataset.blob == blob).limit(1)) is not None
