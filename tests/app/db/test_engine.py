"""Times come back in UTC, and a database may be migrated by many processes at once. Knows no job."""

from __future__ import annotations

import multiprocessing
from datetime import UTC, datetime

from app.db import migrate
from app.db.engine import Database
from app.db.repositories.workers import WorkerRepository


def test_times_come_back_in_utc(database: Database) -> None:
    moment = datetime(2026, 2, 3, 4, 5, 6, 789000, tzinfo=UTC)
    with database.write() as session:
        WorkerRepository(session).seen("w", "cpu", moment)
    with database.read() as session:
        (worker,) = WorkerRepository(session).since(datetime(2026, 1, 1, tzinfo=UTC))
        assert worker.heartbeat_at == moment
        assert worker.heartbeat_at.tzinfo is UTC
        assert abs(database.now(session) - datetime.now(UTC)).total_seconds() < 5


def _upgrade(url: str) -> None:
    database = Database(url)
    migrate.upgrade(database)
    database.close()


def test_processes_that_migrate_at_once_do_not_disturb_each_other(empty_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_upgrade, args=(empty_url,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    database = Database(empty_url)
    assert migrate.is_current(database)
    database.close()
