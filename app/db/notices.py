"""What Postgres says of jobs as it happens (LISTEN/NOTIFY). Knows channels and connections, no table."""

from __future__ import annotations

import importlib
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

CHANNEL = "cellgate_jobs"
"""Something happened to the job that is named."""
QUEUE = "cellgate_queue"
"""A job waits for a worker."""
HEAR = 1.0
"""Seconds in which a listener that is to stop notices it."""


class Unheard(Exception):
    """There is no connection to listen on; the message is the name of the cause."""


def notify(session: Session, job: str) -> None:
    """Tell every listener of the job, once this transaction is committed; SQLite has nobody to tell."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_notify(CHANNEL, job)))


def ring(session: Session) -> None:
    """Wake idle workers, once this transaction is committed; those of SQLite look by themselves."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_notify(QUEUE, "")))


def rung(url: str, stopping: threading.Event) -> Iterator[None]:
    """Once at the start, and whenever a job waits for a worker, until `stopping`. Raises `Unheard`."""
    with _listening() as psycopg, psycopg.connect(_address(url), autocommit=True, connect_timeout=5) as connection:
        connection.execute(f"LISTEN {QUEUE}")
        yield
        while not stopping.is_set():
            for _ in connection.notifies(timeout=HEAR, stop_after=1):
                yield


async def heard(url: str) -> AsyncIterator[str]:
    """The ids of jobs to which something happened. Raises `Unheard`."""
    with _listening() as psycopg:
        connecting = psycopg.AsyncConnection.connect(_address(url), autocommit=True, connect_timeout=5)
        async with await connecting as connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            async for notice in connection.notifies():
                yield notice.payload


@contextmanager
def _listening() -> Iterator[Any]:
    """The driver, which a service on SQLite never loads."""
    psycopg = importlib.import_module("psycopg")
    try:
        yield psycopg
    except (psycopg.Error, OSError) as error:
        raise Unheard(type(error).__name__) from error


def _address(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
