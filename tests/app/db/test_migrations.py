"""The migrations make what the tables say, on both databases, and can be taken back. Knows no query."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from datetime import UTC, datetime

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from app.db import migrate
from app.db.engine import Database
from app.db.repositories.workers import WorkerRepository
from app.db.tables import Table


def test_the_migrations_make_what_the_tables_say(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert len(inspect(connection).get_table_names()) == len(Table.metadata.tables) + 1  # and alembic's own
        assert compare_metadata(context, Table.metadata) == []


def test_a_database_is_current_only_when_it_is_migrated(empty_url: str) -> None:
    database = Database(empty_url)
    assert not migrate.is_current(database)
    migrate.upgrade(database)
    assert migrate.is_current(database)
    migrate.upgrade(database)  # once more does nothing
    migrate.downgrade(database, "base")
    assert not migrate.is_current(database)
    assert set(inspect(database.engine).get_table_names()) <= {"alembic_version"}
    migrate.upgrade(database)
    assert migrate.is_current(database)
    database.close()


def test_the_last_file_is_the_head_of_one_line() -> None:
    assert ScriptDirectory(str(migrate.SCRIPTS)).get_heads() == [migrate.head()]


def test_a_current_database_is_left_without_loading_alembic(empty_url: str) -> None:
    _upgrade(empty_url)
    look = "import sys; from app.db.engine import Database; from app.db import migrate; migrate.upgrade(Database(sys.argv[1])); "
    look += "print('alembic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", look, empty_url], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


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


def test_times_come_back_in_utc(database: Database) -> None:
    moment = datetime(2026, 2, 3, 4, 5, 6, 789000, tzinfo=UTC)
    with database.write() as session:
        WorkerRepository(session).seen("w", ["cpu"], moment)
    with database.read() as session:
        (worker,) = WorkerRepository(session).since(datetime(2026, 1, 1, tzinfo=UTC))
        assert worker.heartbeat_at == moment
        assert worker.heartbeat_at.tzinfo is UTC
        assert abs(database.now(session) - datetime.now(UTC)).total_seconds() < 5
