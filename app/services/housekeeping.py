"""Use case of keeping house: old traces go, and files that nothing names. Knows transactions and blobs, no HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from app.blobs import Blobs
from app.db.engine import Database
from app.db.repositories.leftovers import LeftoverRepository
from app.settings import Settings

YOUNG = 3600.0
"""Seconds that a file may wait for the row that names it: it is written first."""
PROGRESS = timedelta(days=1)
"""How long the steps of an ended job's progress are kept; its metrics and log stay longer."""
ANSWERS = timedelta(days=1)
WORKERS = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What went."""

    checkpoints: int
    events: int
    answers: int
    workers: int
    blobs: int

    @property
    def total(self) -> int:
        return self.checkpoints + self.events + self.answers + self.workers + self.blobs


class HouseKeeping:
    """Keeps a database and a blob store from growing for ever. May run in several processes at once."""

    def __init__(self, database: Database, blobs: Blobs, settings: Settings) -> None:
        self.database, self.blobs, self.settings = database, blobs, settings

    def sweep(self) -> Swept:
        """Let everything go whose time is over."""
        with self.database.write() as session:
            rows, now = LeftoverRepository(session), self.database.now(session)
            kept = timedelta(days=self.settings.event_days)
            gone = {
                "checkpoints": rows.forget_checkpoints(now - timedelta(days=self.settings.checkpoint_days)),
                "events": rows.forget_events(now - PROGRESS, kinds=("progress",))
                + rows.forget_events(now - kept, kinds=("metrics", "log")),
                "answers": rows.forget_answers(now - ANSWERS),
                "workers": rows.forget_workers(now - WORKERS),
            }
        return Swept(**gone, blobs=self._orphans())

    def _orphans(self) -> int:
        """Delete the blobs that no row names. They are listed before the rows are read: what is named later is younger;
        and again after, for what is put again is young again."""
        old = self._old()
        with self.database.read() as session:
            old -= LeftoverRepository(session).blobs()
        orphans = old & self._old() if old else old
        for digest in orphans:
            self.blobs.delete(digest)
        return len(orphans)

    def _old(self) -> set[str]:
        return {digest for digest, age in self.blobs.listed() if age > YOUNG}
