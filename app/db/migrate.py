"""Brings a database to a revision, in process. Knows alembic, no table."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

import migrations
from app.db.engine import Database

LOCK = 0x63656C6C  # "cell": one process migrates a Postgres at a time


def upgrade(database: Database, revision: str = "head") -> None:
    """Migrate up; safe when several processes start at once."""
    _run(database, command.upgrade, revision)


def downgrade(database: Database, revision: str) -> None:
    """Migrate down to a revision, or "base"."""
    _run(database, command.downgrade, revision)


def is_current(database: Database) -> bool:
    """Whether the database is at this code's revision."""
    with database.engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    return found == ScriptDirectory.from_config(_config()).get_current_head()


def _run(database: Database, action: object, revision: str) -> None:
    config = _config()
    with database.engine.begin() as connection:
        if not database.sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        config.attributes["connection"] = connection
        action(config, revision)  # type: ignore[operator]


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    return config
