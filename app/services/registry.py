"""Use cases of models: register, alias, roll back, import. Knows artifacts and transactions; no HTTP, no torch."""

from __future__ import annotations

import re
import tempfile
import zipfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from app.blobs import Blobs, local
from app.db.engine import Database
from app.db.repositories.jobs import JobRepository
from app.db.repositories.models import ModelRepository
from app.db.tables import Model, Version
from app.errors import Conflict, Flaw, Invalid, NotFound
from app.services import promotion
from app.services.pages import Page, decode, page
from app.services.promotion import PRODUCTION
from app.settings import Settings
from models import artifact, catalog
from models.artifact import ArtifactError, Manifest

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
REFERENCE = re.compile(r"([a-z0-9][a-z0-9._-]{0,63})(?:@([a-z0-9][a-z0-9._-]{0,63})|:([1-9]\d{0,8}))?")


class ModelView(BaseModel):
    """A model as clients see it."""

    name: str
    task: str
    aliases: dict[str, int]
    latest_version: int | None
    default: bool
    created_at: datetime


class VersionView(BaseModel):
    """A version as clients see it."""

    model: str
    version: int
    task: str
    config: dict[str, Any]
    metrics: dict[str, float]
    dataset: dict[str, Any] | None
    job: str | None
    study: dict[str, Any] | None = Field(description="The table of the study whose best trial it is.")
    bytes: int
    parameters: int
    digest: str
    weights_digest: str
    created_at: datetime
    aliases: list[str]
    code_version: str


class MoveView(BaseModel):
    """What an alias pointed at from then on, and who moved it."""

    alias: str
    version: int | None
    previous: int | None
    at: datetime
    by: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An artifact that was verified and lies in the blob store."""

    manifest: Manifest
    blob: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Reference:
    """`name`, `name@alias` or `name:version`."""

    name: str
    alias: str | None
    version: int | None

    @staticmethod
    def parse(text: str) -> Reference:
        """Raises `Invalid`."""
        found = REFERENCE.fullmatch(text)
        if found is None:
            detail = f"'{text[:80]}' is no model reference; write name, name@alias or name:version"
            raise Invalid(detail, errors=[Flaw(detail=detail, pointer="/model")])
        name, alias, number = found.groups()
        return Reference(
            name=name, alias=alias or (None if number else PRODUCTION), version=int(number) if number else None
        )


@dataclass(frozen=True, kw_only=True)
class Pointers:
    """Where every alias points and what every task's default is, at one moment."""

    aliases: dict[tuple[str, str], int]
    defaults: dict[str, str]


class Registry:
    """The models of a database and a blob store."""

    def __init__(self, database: Database, blobs: Blobs, settings: Settings) -> None:
        self.database, self.blobs, self.settings = database, blobs, settings

    # making

    def store(self, archive: Path) -> Stored:
        """Verify an artifact's zip and put it into the blob store. Raises `Invalid`."""
        manifest, size = _verified(archive), archive.stat().st_size
        return Stored(manifest=manifest, blob=self.blobs.put(archive), bytes=size)

    def stored(self, blob: str) -> Stored:
        """An artifact that lies in the blob store already. Raises `NotFound`, `Invalid`."""
        with tempfile.TemporaryDirectory(prefix="cellgate-artifact-") as folder:
            archive = local(self.blobs, blob, Path(folder))
            return Stored(manifest=_verified(archive), blob=blob, bytes=archive.stat().st_size)

    def register(
        self,
        stored: Stored,
        *,
        model: str,
        promote: str,
        by: str,
        study: dict[str, Any] | None = None,
        within: Session | None = None,
    ) -> VersionView:
        """A new version of a model, made if it is new; once for each job. It carries the `study` that found it.
        `within` joins a transaction under way."""
        if within is not None:
            return self._register(within, stored, model=model, promote=promote, by=by, study=study)
        with self.database.write() as session:
            return self._register(session, stored, model=model, promote=promote, by=by, study=study)

    def _register(
        self, session: Session, stored: Stored, *, model: str, promote: str, by: str, study: dict[str, Any] | None
    ) -> VersionView:
        rows, now, manifest = ModelRepository(session), self.database.now(session), stored.manifest
        found = rows.model(model, lock=True)
        if found is None:
            found = Model(name=model, task=manifest.task, created_at=now)
            rows.add(found)
        if found.task != manifest.task:
            raise Conflict(f"the model '{model}' is for {found.task}, not {manifest.task}")
        before = rows.of_job(manifest.job) if manifest.job else None
        if before is not None:
            if by.startswith("job "):
                return _version(rows, before)
            manifest = manifest.model_copy(update={"job": None})  # an import of what stands here already
        version = Version(
            model=model,
            version=rows.next_version(found),
            task=manifest.task,
            config=manifest.config,
            metrics=manifest.metrics,
            dataset=manifest.dataset,
            job=manifest.job,
            study=study,
            blob=stored.blob,
            bytes=stored.bytes,
            parameters=manifest.parameters,
            digest=stored.blob,
            weights_digest=manifest.weights_digest,
            code_version=manifest.code_version,
            created_at=now,
        )
        rows.add(version)
        reason = promotion.reason(rows, version, promote)
        if reason is not None:
            rows.move(model, PRODUCTION, version.version, at=now, by=by, reason=reason)
        if manifest.task not in rows.defaults():
            rows.set_default(manifest.task, model)
        return _version(rows, version)

    def import_(self, archive: Path, *, model: str | None, promote: str, by: str) -> VersionView:
        """Register an artifact that was made elsewhere, under its task's name if no other. Raises `Invalid`,
        `Conflict`."""
        name = None if model is None else _name(model)
        stored = self.store(archive)
        try:
            return self.register(stored, model=name or stored.manifest.task, promote=promote, by=by)
        except Conflict:
            self.forget(stored.blob)
            raise

    # looking

    def models(self, *, task: str | None, page_size: int, page_token: str) -> Page[ModelView]:
        with self.database.read() as session:
            rows = ModelRepository(session)
            found = rows.page(task=task, after=decode(page_token), limit=page_size + 1)
            return page(
                found, page_size, lambda model: _model(rows, model), lambda model: (model.created_at, model.name)
            )

    def model(self, name: str) -> ModelView:
        """Raises `NotFound`."""
        with self.database.read() as session:
            rows = ModelRepository(session)
            return _model(rows, _known(rows, name))

    def versions(self, name: str, *, page_size: int, page_token: str) -> Page[VersionView]:
        """The newest first. Raises `NotFound`."""
        with self.database.read() as session:
            rows = ModelRepository(session)
            _known(rows, name)
            cursor = decode(page_token)
            below = int(cursor[1]) if cursor and cursor[1].isdecimal() else None
            found = rows.versions(name, below=below, limit=page_size + 1)
            return page(found, page_size, lambda v: _version(rows, v), lambda v: (v.created_at, str(v.version)))

    def version(self, name: str, number: int) -> VersionView:
        """Raises `NotFound`."""
        with self.database.read() as session:
            rows = ModelRepository(session)
            return _version(rows, _numbered(rows, name, number))

    def history(self, name: str) -> list[MoveView]:
        """What was live when, latest first. Raises `NotFound`."""
        with self.database.read() as session:
            rows = ModelRepository(session)
            _known(rows, name)
            return [MoveView.model_validate(move, from_attributes=True) for move in rows.history(name)]

    def resolve(self, reference: Reference) -> VersionView:
        """The version that a reference means now. Raises `NotFound`."""
        with self.database.read() as session:
            return resolved(session, reference)

    def pointers(self) -> Pointers:
        """Every alias and default, in one look."""
        with self.database.read() as session:
            rows = ModelRepository(session)
            aliases = {(alias.model, alias.alias): alias.version for alias in rows.aliases()}
            return Pointers(aliases=aliases, defaults=rows.defaults())

    def open(self, name: str, number: int) -> tuple[VersionView, BinaryIO]:
        """A version and its zip, open for reading. Raises `NotFound`."""
        view = self.version(name, number)
        return view, self.blobs.open(view.digest)

    def onnx(self, name: str, number: int) -> bytes:
        """The network of a version alone, as ONNX. Raises `NotFound`, `Conflict`."""
        _, file = self.open(name, number)
        with file, zipfile.ZipFile(file) as archive:
            if "net.onnx" not in archive.namelist():
                raise Conflict(f"version {number} of '{name}' has no exact ONNX form; download its artifact instead")
            return archive.read("net.onnx")

    # moving

    def set_alias(self, name: str, alias: str, number: int, *, by: str) -> ModelView:
        """Point an alias at a version. Raises `NotFound`, `Invalid`."""
        _name(alias)
        with self.database.write() as session:
            rows, now = ModelRepository(session), self.database.now(session)
            model = _known(rows, name, lock=True)
            _numbered(rows, name, number)
            rows.move(name, alias, number, at=now, by=by, reason="set")
            return _model(rows, model)

    def rollback(self, name: str, alias: str, *, by: str) -> ModelView:
        """Point an alias at what it was before. Raises `NotFound`, `Conflict`."""
        with self.database.write() as session:
            rows, now = ModelRepository(session), self.database.now(session)
            model = _known(rows, name, lock=True)
            current = rows.alias(name, alias)
            if current is None:
                raise NotFound(f"the model '{name}' has no alias '{alias}'")
            back = promotion.before(rows, name, alias, current.version)
            if back is None:
                raise Conflict(f"there is nothing before version {current.version} under '{alias}' to go back to")
            rows.move(name, alias, back, at=now, by=by, reason=f"rolled back from {current.version}")
            return _model(rows, model)

    def set_default(self, task: str, name: str) -> ModelView:
        """The model that a task's route answers with. Raises `NotFound`, `Conflict`."""
        if task not in catalog.names():
            raise NotFound(str(catalog.UnknownTask(task)))
        with self.database.write() as session:
            rows = ModelRepository(session)
            model = _known(rows, name)
            if model.task != task:
                raise Conflict(f"the model '{name}' is for {model.task}, not {task}")
            rows.set_default(task, name)
            return _model(rows, model)

    def delete(self, name: str, number: int) -> None:
        """Remove a version. Raises `NotFound`, and `Conflict` while an alias points at it or a job needs it."""
        with self.database.write() as session:
            rows = ModelRepository(session)
            _known(rows, name, lock=True)
            version = _numbered(rows, name, number)
            pointing = [alias.alias for alias in rows.aliases(name) if alias.version == number]
            if pointing:
                raise Conflict(f"'{pointing[0]}' points at version {number}; move it first")
            job = JobRepository(session).of_version(f"{name}:{number}")
            if job is not None:
                raise Conflict(f"the job {job} still needs version {number}; cancel it or let it end")
            blob = version.blob
            rows.delete_version(name, number)
        self.forget(blob)

    def forget(self, blob: str) -> None:
        """Delete a blob that no version has."""
        with self.database.read() as session:
            used = ModelRepository(session).blob_used(blob)
        if not used:
            self.blobs.delete(blob)


def resolved(session: Session, reference: Reference) -> VersionView:
    """The version that a reference means now. Raises `NotFound`."""
    rows = ModelRepository(session)
    _known(rows, reference.name)
    number = reference.version
    if number is None:
        alias = rows.alias(reference.name, str(reference.alias))
        if alias is None:
            raise NotFound(f"the model '{reference.name}' has no alias '{reference.alias}'")
        number = alias.version
    return _version(rows, _numbered(rows, reference.name, number))


def _verified(archive: Path) -> Manifest:
    """The manifest of an artifact that is what it says. Raises `Invalid`."""
    with tempfile.TemporaryDirectory(prefix="cellgate-artifact-") as folder:
        try:
            return artifact.unpack(archive, Path(folder)).manifest
        except ArtifactError as error:
            raise Invalid(f"the artifact is refused: {error}", errors=[Flaw(detail=str(error))]) from None


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        detail = f"'{text[:80]}' is no name; use a-z, 0-9, '.', '_' and '-', at most 64 of them"
        raise Invalid(detail, errors=[Flaw(detail=detail, pointer="/name")])
    return text


def _known(rows: ModelRepository, name: str, *, lock: bool = False) -> Model:
    found = rows.model(name, lock=lock) if NAME.fullmatch(name) else None  # a database may choke on other names
    if found is None:
        raise NotFound(f"no model '{name[:80]}'")
    return found


def _numbered(rows: ModelRepository, name: str, number: int) -> Version:
    found = rows.version(name, number)
    if found is None:
        raise NotFound(f"the model '{name}' has no version {number}")
    return found


def _model(rows: ModelRepository, model: Model) -> ModelView:
    latest = rows.versions(model.name, limit=1)
    return ModelView(
        name=model.name,
        task=model.task,
        aliases={alias.alias: alias.version for alias in rows.aliases(model.name)},
        latest_version=latest[0].version if latest else None,
        default=rows.defaults().get(model.task) == model.name,
        created_at=model.created_at,
    )


def _version(rows: ModelRepository, version: Version) -> VersionView:
    aliases = [alias.alias for alias in rows.aliases(version.model) if alias.version == version.version]
    stored = {name: getattr(version, name) for name in VersionView.model_fields if name != "aliases"}
    return VersionView(**stored, aliases=aliases)
