"""What Postgres says of jobs as it happens (LISTEN/NOTIFY). Knows a channel and a connection, no table."""

from __future__ import annotations

from collections.abc import AsyncIterator

import psycopg
from sqlalchemy import func, select
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

CHANNEL = "cellgate_jobs"


def notify(session: Session, job: str) -> None:
    """Tell every listener of the job, once this transaction is committed; SQLite has nobody to tell."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_notify(CHANNEL, job)))


async def heard(url: str) -> AsyncIterator[str]:
    """The ids of jobs to which something happened. Raises `psycopg.Error` when the connection is lost."""
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    async with await psycopg.AsyncConnection.connect(address, autocommit=True, connect_timeout=5) as connection:
        await connection.execute(f"LISTEN {CHANNEL}")
        async for notice in connection.notifies():
            yield notice.payload
