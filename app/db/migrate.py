"""Brings a database to a revision, in process. Knows alembic, and loads it only where there is work; knows no table."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from sqlalchemy import inspect, text

import migrations
from app.db.engine import Database

LOCK = 0x63656C6C  # "cell": one process migrates a Postgres at a time
SCRIPTS = Path(migrations.__file__).parent


def upgrade(database: Database, revision: str = "head") -> None:
    """Migrate up; safe when several processes start at once. Costs a look where nothing is to be done."""
    if revision != "head" or not is_current(database):
        _run(database, "upgrade", revision)


def downgrade(database: Database, revision: str) -> None:
    """Migrate down to a revision, or "base"."""
    _run(database, "downgrade", revision)


def is_current(database: Database) -> bool:
    """Whether the database is at this code's revision."""
    with database.engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return False
        return connection.scalars(text("SELECT version_num FROM alembic_version")).all() == [head()]


def head() -> str:
    """This code's revision: migrations are a line, and their files begin with their numbers."""
    return max(file.name.partition("_")[0] for file in (SCRIPTS / "versions").glob("[0-9]*_*.py"))


def _run(database: Database, action: str, revision: str) -> None:
    """Loaded here because a service whose database is current goes without its ten megabytes."""
    command: Any = importlib.import_module("alembic.command")
    config = importlib.import_module("alembic.config").Config()
    config.set_main_option("script_location", str(SCRIPTS))
    with database.engine.begin() as connection:
        if not database.sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        config.attributes["connection"] = connection
        getattr(command, action)(config, revision)
