"""Queries on workers. Knows the table; commits nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import Worker


class WorkerRepository:
    """Worker processes, alive or not."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def seen(self, id: str, devices: Sequence[str], now: datetime) -> None:  # noqa: A002
        """A worker lives, and can run jobs on these devices."""
        worker = self.session.get(Worker, id)
        if worker is None:
            worker = Worker(id=id, host=socket.gethostname(), pid=os.getpid(), devices=list(devices), started_at=now)
            self.session.add(worker)
        worker.heartbeat_at = now

    def since(self, moment: datetime) -> Sequence[Worker]:
        """The workers that were seen after a moment."""
        return self.session.scalars(select(Worker).where(Worker.heartbeat_at > moment)).all()
