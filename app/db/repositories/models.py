"""Queries on models, versions, aliases and defaults. Knows the tables; commits nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select, tuple_
from sqlalchemy.orm import Session

from app.db.tables import Alias, AliasMove, Model, TaskDefault, Version


class ModelRepository:
    """Everything that the registry remembers."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def model(self, name: str, *, lock: bool = False) -> Model | None:
        query = select(Model).where(Model.name == name)
        return self.session.scalar(query.with_for_update() if lock else query)

    def page(self, *, task: str | None, after: tuple[datetime, str] | None, limit: int) -> Sequence[Model]:
        query = select(Model) if task is None else select(Model).where(Model.task == task)
        if after is not None:
            query = query.where(tuple_(Model.created_at, Model.name) < after)
        return self.session.scalars(query.order_by(Model.created_at.desc(), Model.name.desc()).limit(limit)).all()

    def add(self, row: Model | Version) -> None:
        self.session.add(row)
        self.session.flush()

    def next_version(self, model: Model) -> int:
        """A number that no version ever had, not even a deleted one."""
        latest = self.session.scalar(select(func.max(Version.version)).where(Version.model == model.name)) or 0
        model.made = max(latest, model.made or 0) + 1
        return model.made

    def version(self, name: str, number: int) -> Version | None:
        return self.session.get(Version, (name, number))

    def versions(self, name: str, *, below: int | None = None, limit: int = 1000) -> Sequence[Version]:
        query = select(Version).where(Version.model == name)
        if below is not None:
            query = query.where(Version.version < below)
        return self.session.scalars(query.order_by(Version.version.desc()).limit(limit)).all()

    def of_job(self, job: str) -> Version | None:
        return self.session.scalar(select(Version).where(Version.job == job))

    def delete_version(self, name: str, number: int) -> None:
        self.session.execute(delete(Version).where(Version.model == name, Version.version == number))

    def blob_used(self, blob: str) -> bool:
        return self.session.scalar(select(Version.model).where(Version.blob == blob).limit(1)) is not None

    def alias(self, name: str, alias: str) -> Alias | None:
        return self.session.get(Alias, (name, alias))

    def aliases(self, name: str | None = None) -> Sequence[Alias]:
        query = select(Alias) if name is None else select(Alias).where(Alias.model == name)
        return self.session.scalars(query.order_by(Alias.model, Alias.alias)).all()

    def move(self, name: str, alias: str, version: int, *, at: datetime, by: str, reason: str) -> None:
        """Point an alias at a version, and remember it."""
        found = self.alias(name, alias)
        previous = found.version if found else None
        if found is None:
            self.session.add(Alias(model=name, alias=alias, version=version))
        else:
            found.version = version
        move = AliasMove(model=name, alias=alias, version=version, previous=previous, at=at, by=by, reason=reason)
        self.session.add(move)
        self.session.flush()

    def history(self, name: str, *, alias: str | None = None, limit: int = 1000) -> Sequence[AliasMove]:
        query = select(AliasMove).where(AliasMove.model == name)
        if alias is not None:
            query = query.where(AliasMove.alias == alias)
        return self.session.scalars(query.order_by(AliasMove.id.desc()).limit(limit)).all()

    def defaults(self) -> dict[str, str]:
        """task -> model."""
        return {row.task: row.model for row in self.session.scalars(select(TaskDefault))}

    def set_default(self, task: str, model: str) -> None:
        found = self.session.get(TaskDefault, task)
        if found is None:
            self.session.add(TaskDefault(task=task, model=model))
        else:
            found.model = model
        self.session.flush()
