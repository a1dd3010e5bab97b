"""How alembic reaches the database: by the connection handed to it, or by the settings."""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import Connection

from app import settings
from app.db.engine import Database
from app.db.tables import Table, UtcDateTime


def render(kind: str, item: Any, autogen: Any) -> str | bool:
    """Our own column types are written down as SQLAlchemy's, so that a migration never changes with the code."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Table.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        render_item=render,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    database = Database(settings.load().database)
    with database.engine.begin() as opened:
        run(opened)
    database.close()
