"""The one engine, for SQLite and Postgres alike. Knows connections and transactions, no table.

A unit of work is short: ``with database.write() as session:`` commits at its end or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, create_engine, event, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

BUSY_TIMEOUT = 30.0
"""Seconds a SQLite writer waits for another one before it gives up."""


class Database:
    """An engine and its two kinds of unit of work. Safe to share between threads, not over a fork."""

    def __init__(self, url: str) -> None:
        self.url = url
        parsed = make_url(url)
        self.sqlite = parsed.get_backend_name() == "sqlite"
        if parsed.drivername in {"postgresql", "postgres"}:
            parsed = parsed.set(drivername="postgresql+psycopg")
        options: dict[str, Any] = (
            {"connect_args": {"timeout": BUSY_TIMEOUT}} if self.sqlite else {"pool_size": 8, "max_overflow": 8}
        )
        self.engine = create_engine(parsed, pool_pre_ping=not self.sqlite, **options)
        if self.sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A unit of work that only reads: it waits for no writer."""
        with self._session(immediate=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A unit of work that may write: on SQLite it takes the write lock first, so that it cannot
        fail half-way because another writer came between its reading and its writing."""
        with self._session(immediate=True) as session:
            yield session

    @contextmanager
    def _session(self, *, immediate: bool) -> Iterator[Session]:
        engine = self.engine.execution_options(immediate=immediate)
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield session

    def now(self, session: Session) -> datetime:
        """The database's own clock, in UTC: the one clock that every worker and API process shares."""
        if self.sqlite:
            text = session.scalar(select(func.strftime("%Y-%m-%d %H:%M:%f", "now")))
            return datetime.fromisoformat(str(text)).replace(tzinfo=UTC)
        moment: datetime = session.scalars(select(func.clock_timestamp())).one()
        return moment.astimezone(UTC)

    def close(self) -> None:
        """Return every connection."""
        self.engine.dispose()


def cause(error: Exception) -> str:
    """What the driver said of a failure: its first line, without the statement and without a link."""
    told = str(getattr(error, "orig", None) or error).strip()
    return told.split("\n", maxsplit=1)[0] or type(error).__name__


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver's guesses
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
