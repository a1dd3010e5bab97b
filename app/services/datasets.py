"""Use cases of data sets: take a file in, show it, hand its rows out, delete it. Knows transactions, no format."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from pydantic import BaseModel, ConfigDict, Field

from app import scratch
from app.blobs import Blobs, local, put_copy
from app.db.engine import Database
from app.db.repositories.datasets import DatasetRepository
from app.db.repositories.jobs import JobRepository
from app.db.tables import Dataset
from app.errors import Conflict, Flaw, Invalid, NotFound
from app.services.intake import Of, take
from app.services.pages import Page, decode, page
from app.settings import Settings
from models import catalog
from models.task import Part

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
INCOMING = "incoming"
"""The folder of the home where uploads arrive."""


class DatasetView(BaseModel):
    """An uploaded data set, as callers see it."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(examples=["ds_4f1c09a7e2b85d36"])
    name: str = Field(examples=["reviews"])
    task: str = Field(examples=["sentiment"])
    rows: int = Field(examples=[5331])
    splits: dict[str, int] = Field(
        description="Rows of each part; none of any where the rows are items without answers.",
        examples=[{"train": 4265, "validation": 533, "test": 533}],
    )
    split_seed: int | None = Field(description="Seed of a split made here; null where the file brought its own.")
    digest: str = Field(description="SHA-256 of the bytes that were sent.")
    bytes: int
    stats: dict[str, Any]
    warnings: list[str]
    created_at: datetime


class Datasets:
    """What can be done with data sets."""

    def __init__(self, database: Database, blobs: Blobs, settings: Settings) -> None:
        self._database, self._blobs = database, blobs
        self._incoming = settings.home / INCOMING

    @contextmanager
    def incoming(self) -> Iterator[Path]:
        """A folder for one upload, gone at the end."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._incoming, prefix=scratch.prefix()) as folder:
            yield Path(folder)

    def create(
        self,
        path: Path,
        *,
        task: str,
        name: str | None,
        media_type: str,
        bytes: int,  # noqa: A002  the wire's own word
        digest: str,
        seed: int = 0,
        of: Of = "rows",
    ) -> DatasetView:
        """Validate a file and keep its rows, or its items. Without a name it is called by its id.

        Raises `Invalid` with the faults by line; then nothing is kept.
        """
        card = catalog.card(_known_task(task))
        id = f"ds_{secrets.token_hex(8)}"  # noqa: A001
        check_name(id if name is None else name)
        with self.incoming() as folder:
            rows = folder / "rows.jsonl"
            taken = take(path, rows, card, media_type, seed=seed, of=of)
            row = {
                "id": id,
                "name": id if name is None else name,
                "task": task,
                "rows": taken.rows,
                "splits": taken.splits,
                "split_seed": taken.split_seed,
                "digest": digest,
                "bytes": bytes,
                "stats": taken.stats,
                "warnings": list(taken.warnings),
            }
            while True:
                blob = put_copy(self._blobs, rows)  # it may take long: no writer waits for it
                with self._database.write() as session:
                    repository = DatasetRepository(session)
                    repository.lock()
                    if self._blobs.exists(blob):  # else it went with another data set of the same rows
                        dataset = Dataset(**row, blob=blob, created_at=self._database.now(session))
                        repository.add(dataset)
                        return _view(dataset)

    def get(self, id_or_name: str) -> DatasetView:
        """The data set of that id, or the newest of that name. Raises `NotFound`."""
        return _view(self._found(id_or_name))

    def list(self, *, task: str | None = None, page_size: int = 50, page_token: str = "") -> Page[DatasetView]:
        """Data sets, newest first."""
        task = None if task is None else _known_task(task)
        with self._database.read() as session:
            rows = DatasetRepository(session).page(task=task, after=decode(page_token), limit=page_size + 1)
            return page(rows, page_size, _view, lambda row: (row.created_at, row.id))

    def rows(self, id_or_name: str, *, page_size: int = 50, page_token: str = "") -> Page[dict[str, Any]]:
        """The rows in the file's order, each with its `split`."""
        items: list[dict[str, Any]] = []
        with self._blobs.open(self._found(id_or_name).blob) as file:
            place = _place(page_token, file)
            file.seek(place)
            while len(items) < page_size and (line := file.readline()):
                try:
                    record = orjson.loads(line)
                except ValueError:
                    raise _wrong_token() from None
                split = {} if record["part"] is None else {"split": record["part"]}
                items.append(record["row"] | split)
            place = file.tell()
            more = bool(file.read(1))
        return Page(items=items, next_page_token=_token(place) if more else "")

    def read_rows(self, id_or_name: str) -> Iterator[tuple[Part | None, dict[str, Any]]]:
        """Every row with its part; one without a part belongs to all of them."""
        with self._blobs.open(self._found(id_or_name).blob) as file:
            for line in file:
                record = orjson.loads(line)
                yield record["part"], record["row"]

    def local_rows(self, id_or_name: str, scratch: Path) -> Path:
        """The canonical rows as a file of this machine."""
        return local(self._blobs, self._found(id_or_name).blob, scratch)

    def delete(self, id_or_name: str) -> None:
        """Forget a data set. Raises `Conflict` while a job needs it."""
        id_or_name = self._found(id_or_name).id
        with self._database.write() as session:
            repository, jobs = DatasetRepository(session), JobRepository(session)
            repository.lock()
            dataset = repository.get(id_or_name)
            if dataset is None:
                raise _unknown(id_or_name)
            job = jobs.of_dataset(dataset.id)
            if job is not None:
                raise Conflict(f"the job {job} still needs the data set '{id_or_name}'; cancel it or let it end")
            jobs.forget_dataset(dataset.id)
            repository.delete(dataset.id)
            if not repository.uses_blob(dataset.blob):
                self._blobs.delete(dataset.blob)

    def _found(self, id_or_name: str) -> Dataset:
        dataset = None
        if NAME.fullmatch(id_or_name):
            with self._database.read() as session:
                dataset = DatasetRepository(session).get(id_or_name)
        if dataset is None:
            raise _unknown(id_or_name)
        return dataset


def check_name(name: str) -> None:
    """Raises `Invalid` where a name does not match the rule for names."""
    if not NAME.fullmatch(name):
        flaw = Flaw(detail="1 to 64 of a-z, 0-9, dot, dash and underscore, not beginning with a sign", pointer="/name")
        raise Invalid(f"'{name[:80]}' is not a name", errors=[flaw])


def _known_task(task: str) -> str:
    if task not in catalog.names():
        detail = f"unknown task '{task[:80]}'; known: {', '.join(catalog.names())}"
        raise Invalid(detail, errors=[Flaw(detail=detail, pointer="/task")])
    return task


def _unknown(id_or_name: str) -> NotFound:
    return NotFound(f"no data set '{id_or_name[:80]}'")


def _view(row: Dataset) -> DatasetView:
    return DatasetView(**{name: getattr(row, name) for name in DatasetView.model_fields})


def _token(place: int) -> str:
    return base64.urlsafe_b64encode(f"row {place}".encode()).decode()


def _place(token: str, file: BinaryIO) -> int:
    """Where in the blob a page begins: at a line's beginning, or the token is not ours."""
    if not token:
        return 0
    try:
        found = re.fullmatch(r"row ([0-9]{1,15})", base64.urlsafe_b64decode(token).decode())
    except (ValueError, binascii.Error):
        found = None
    if found is None or int(found[1]) < 1:
        raise _wrong_token()
    file.seek(int(found[1]) - 1)
    if file.read(1) != b"\n":
        raise _wrong_token()
    return int(found[1])


def _wrong_token() -> Invalid:
    flaw = Flaw(detail="not a token that this service gave", pointer="/page_token")
    return Invalid("the page_token is not one that this service gave", errors=[flaw])
