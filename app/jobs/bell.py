"""Wakes an idle worker when a job is queued, so that it need not look again and again. Knows a clock, no job.

On Postgres the database rings (LISTEN/NOTIFY), and a worker looks by itself only once in a while, in case
a ring was lost; on SQLite, and while the connection is lost, it looks every `poll_seconds`.
"""

from __future__ import annotations

import threading
import time

import structlog

from app.db.engine import Database
from app.db.notices import Unheard, rung

log = structlog.get_logger("cellgate.worker")

SELDOM = 2.0
"""Seconds between two looks for work where the database rings."""
AGAIN = 2.0
"""Seconds before a lost connection is made anew."""
STEP = 0.1
"""Seconds in which a worker that is to stop notices it."""


class Bell:
    """Rung when there may be work. `ring` may be called by any thread, `wait` by one."""

    def __init__(self, database: Database, stopping: threading.Event, *, poll_seconds: float) -> None:
        self.database, self.stopping, self.poll_seconds = database, stopping, poll_seconds
        self._rung = threading.Event()
        self._listens = False

    def start(self) -> None:
        """Listen to the database, where it rings."""
        if not self.database.sqlite:
            threading.Thread(target=self._listen, daemon=True).start()

    def ring(self) -> None:
        """There may be work, or room for it."""
        self._rung.set()

    def wait(self, *, most: float) -> None:
        """Until somebody rings, it is time to look, or `most` seconds have passed; at once if it rang meanwhile."""
        until = time.monotonic() + min(most, SELDOM if self._listens else self.poll_seconds)
        while not self.stopping.is_set() and (left := until - time.monotonic()) > 0:
            if self._rung.wait(min(STEP, left)):
                break
        self._rung.clear()

    def _listen(self) -> None:
        while not self.stopping.is_set():
            try:
                for _ in rung(self.database.url, self.stopping):
                    self._listens = True
                    self.ring()
            except Unheard as error:
                log.warning("the database does not ring", error=str(error))
            self._listens = False
            self.stopping.wait(AGAIN)
