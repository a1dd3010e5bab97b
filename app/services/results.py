"""Use case of what a bulk prediction leaves behind: its lines, joined, and handed out. Knows blobs, no HTTP."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from app.blobs import Blobs
from app.db.engine import Database
from app.db.repositories.jobs import ENDED, JobRepository
from app.errors import Conflict, NotFound

CHUNK = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Lines:
    """A file of answers, one JSON object a line."""

    digest: str
    """SHA-256 of its bytes."""
    bytes: int


class Results:
    """The results of a database's jobs that are files."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self.database, self.blobs = database, blobs

    def open(self, job: str) -> tuple[Lines, BinaryIO]:
        """The lines of a bulk prediction, open for reading. Raises `NotFound`, and `Conflict` where there are none."""
        with self.database.read() as session:
            found = JobRepository(session).get(job)
            if found is None:
                raise NotFound(f"no job '{job[:80]}'")
            if found.kind != "predict":
                raise Conflict(f"a job of kind '{found.kind}' has no file as its result; see `result` of the job")
            if found.state != "succeeded" or found.artifact is None or found.result is None:
                when = "; it has one once it has succeeded" if found.state not in ENDED else ": start it again for one"
                raise Conflict(f"the job is {found.state} and has no result{when}")
            lines = Lines(digest=found.artifact, bytes=found.result["bytes"])
        return lines, self.blobs.open(lines.digest)


def joined(blobs: Blobs, pieces: Sequence[str]) -> Lines:
    """Pieces, one after the other, as one blob."""
    with tempfile.TemporaryDirectory(prefix="cellgate-result-") as folder:
        path = Path(folder) / "result.jsonl"
        with path.open("wb") as sink:
            for piece in pieces:
                with blobs.open(piece) as source:
                    shutil.copyfileobj(source, sink, CHUNK)
        size = path.stat().st_size
        return Lines(digest=blobs.put(path), bytes=size)
