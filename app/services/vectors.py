"""Use cases of pretrained word vectors: take a file in, list, open, delete. Knows transactions; no HTTP, no format."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import IntegrityError

from app.blobs import Blobs, local, put_copy
from app.db.engine import Database
from app.db.repositories.jobs import JobRepository
from app.db.repositories.vectors import VectorRepository
from app.db.tables import VectorFile
from app.errors import Conflict, Flaw, Invalid, NotFound
from app.services.datasets import NAME, check_name
from app.services.pages import Page, decode, page
from app.settings import Settings
from models import vectors
from models.vectors import VectorError, WordVectors


class VectorView(BaseModel):
    """Uploaded word vectors, as callers see them."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(examples=["glove-100"])
    words: int = Field(examples=[400_000])
    width: int = Field(examples=[100])
    digest: str = Field(description="SHA-256 of the bytes that were sent.")
    bytes: int
    created_at: datetime


class VectorFiles:
    """What can be done with word vectors."""

    def __init__(self, database: Database, blobs: Blobs, settings: Settings) -> None:
        self._database, self._blobs, self._settings = database, blobs, settings

    def create(self, path: Path, *, name: str, bytes: int, digest: str) -> VectorView:  # noqa: A002
        """Read a file and keep it in our own form. Raises `Invalid`, or `Conflict` where the name is taken."""
        check_name(name)
        with self._database.read() as session:
            if VectorRepository(session).get(name) is not None:
                raise _taken(name)
        try:
            found = vectors.read(path)
        except VectorError as error:
            raise Invalid(f"no word vectors: {error}", errors=[Flaw(detail=str(error))]) from None
        kept = path.with_suffix(".kept")
        try:
            found.save(kept)
            while True:
                blob = put_copy(self._blobs, kept)  # it may take long: no writer waits for it
                with self._database.write() as session:
                    repository = VectorRepository(session)
                    repository.lock()
                    if repository.get(name) is not None:
                        raise _taken(name)
                    if self._blobs.exists(blob):  # else it went with other vectors of the same bytes
                        row = VectorFile(
                            name=name,
                            words=len(found),
                            width=found.width,
                            digest=digest,
                            blob=blob,
                            bytes=bytes,
                            created_at=self._database.now(session),
                        )
                        repository.add(row)
                        return _view(row)
        except IntegrityError:
            raise _taken(name) from None
        finally:
            kept.unlink(missing_ok=True)

    def get(self, name: str) -> VectorView:
        """The vectors of that name. Raises `NotFound`."""
        return _view(self._found(name))

    def list(self, *, page_size: int = 50, page_token: str = "") -> Page[VectorView]:
        """Word vectors, newest first."""
        with self._database.read() as session:
            rows = VectorRepository(session).page(after=decode(page_token), limit=page_size + 1)
            return page(rows, page_size, _view, lambda row: (row.created_at, row.name))

    def open(self, name: str) -> WordVectors:
        """The vectors in memory. Raises `NotFound`."""
        blob = self._found(name).blob
        place = self._blobs.path(blob)
        if place is None:
            raise NotFound(f"the vectors '{name}' are not on this machine")
        return vectors.read(place)

    def local_file(self, name: str, scratch: Path) -> Path:
        """The vectors as a file of this machine."""
        return local(self._blobs, self._found(name).blob, scratch)

    def delete(self, name: str) -> None:
        """Forget the vectors of that name; versions that were trained from them keep what they learnt. Raises
        `Conflict` while a job needs them."""
        self._found(name)
        with self._database.write() as session:
            repository = VectorRepository(session)
            repository.lock()
            row = repository.get(name)
            if row is None:
                raise _unknown(name)
            job = JobRepository(session).of_vectors(name)
            if job is not None:
                raise Conflict(f"the job {job} still needs the vectors '{name}'; cancel it or let it end")
            repository.delete(name)
            if not repository.uses_blob(row.blob):
                self._blobs.delete(row.blob)

    def _found(self, name: str) -> VectorFile:
        row = None
        if NAME.fullmatch(name):
            with self._database.read() as session:
                row = VectorRepository(session).get(name)
        if row is None:
            raise _unknown(name)
        return row


def _taken(name: str) -> Conflict:
    return Conflict(f"the vectors '{name}' exist; delete them first, or choose another name")


def _unknown(name: str) -> NotFound:
    return NotFound(f"no vectors '{name[:80]}'")


def _view(row: VectorFile) -> VectorView:
    return VectorView(**{name: getattr(row, name) for name in VectorView.model_fields})
