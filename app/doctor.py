"""What this machine offers and what stands in the way. Looks, and changes nothing."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from app.blobs import open_blobs
from app.db.engine import Database, cause
from app.db.migrate import is_current
from app.db.repositories.jobs import JobRepository
from app.db.repositories.workers import WorkerRepository
from app.services.keys import Keys, KeysNeeded, refuse_without_keys
from app.settings import Settings
from models import catalog, devices

LEAST_DISK = 2 * 2**30
"""Bytes of free disk below which a training may not find room for its checkpoints."""
MOST_SKEW = 5.0
"""Seconds that this machine's clock may differ from the database's."""
ALIVE = timedelta(seconds=60)
"""A worker that waits for jobs is seen more often than this."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    what: str
    found: str
    remedy: str = ""
    """What to do about it; "" where nothing stands in the way."""


def examined(settings: Settings) -> Iterator[Finding]:
    """Everything that serving and training rest on, one after another."""
    yield Finding("cellgate", f"{_version('cellgate')} on Python {sys.version.split()[0]}")
    yield Finding("arithmetic", f"torch {_version('torch')}, onnxruntime {_version('onnxruntime')}")
    yield _home(settings.home)
    yield _disk(settings.home)
    yield from _database(settings)
    yield _blobs(settings)
    yield _port(settings)
    yield Finding("tasks", ", ".join(catalog.names()))
    for device in devices.inventory():
        free = f"{device.memory_free / 2**30:.1f} of {device.memory_total / 2**30:.1f} GiB free"
        yield Finding(device.id, f"{device.name}, {free}, {', '.join(device.precisions)}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _home(home: Path) -> Finding:
    there = _there(home)
    if not there.is_dir() or not os.access(there, os.W_OK):
        return Finding("home", f"{home}: {there} cannot be written to", "set CELLGATE_HOME to a directory of your own")
    return Finding("home", f"{home}" if there == home.resolve() else f"{home}, made at the first start")


def _there(path: Path) -> Path:
    """The path itself, or the nearest of the directories it would lie in."""
    return next(each for each in (path.resolve(), *path.resolve().parents) if each.exists())


def _disk(home: Path) -> Finding:
    usage = shutil.disk_usage(_there(home))
    told = f"{usage.free / 2**30:.1f} of {usage.total / 2**30:.1f} GiB free for the home"
    remedy = "make room, or put CELLGATE_HOME on a larger disk: a job that finds the disk full fails"
    return Finding("disk", told, remedy if usage.free < LEAST_DISK else "")


def _database(settings: Settings) -> Iterator[Finding]:
    """The database and the keys in it; one that is not there yet is not made."""
    address = settings.database_url or ""
    if not address and not (settings.home / "cellgate.db").exists():
        yield Finding("database", "SQLite in the home, made at the first start")
        return
    database = Database(settings.database)
    name = database.engine.url.render_as_string(hide_password=True)
    try:
        if not is_current(database):
            yield Finding("database", f"{name}, of another version", "run `cellgate migrate`")
            return
        yield Finding("database", f"{name}, current")
        yield from _running(database)
        keys = Keys(database, settings)
        yield Finding("keys", f"{sum(key.revoked_at is None for key in keys.list())} valid")
        refuse_without_keys(settings, keys)
    except SQLAlchemyError as error:
        yield Finding("database", f"{name}: {cause(error)}", "start it, or put CELLGATE_DATABASE_URL right")
    except KeysNeeded as error:
        yield Finding("keys", "none", str(error))
    finally:
        database.close()


def _running(database: Database) -> Iterator[Finding]:
    """The clock against the database's, and whether somebody is there for the jobs that wait."""
    with database.read() as session:
        now, own = database.now(session), datetime.now(UTC)
        jobs = JobRepository(session)
        waiting, held = jobs.waiting(), jobs.leased(now)
        alive = len(WorkerRepository(session).since(now - ALIVE))
    skew = (own - now).total_seconds()
    remedy = "let both machines ask a time server: jobs keep the database's clock, logs this one's"
    yield Finding("clock", f"{abs(skew):.0f} s off the database's", remedy if abs(skew) > MOST_SKEW else "")
    told = f"{alive} seen in the last {ALIVE.seconds} s; {_jobs(held)} in their hands, {_jobs(waiting)} queued"
    remedy = "start `cellgate worker`, or `cellgate serve` with CELLGATE_WORKERS above 0"
    yield Finding("workers", told, remedy if waiting and not alive and not held else "")


def _jobs(count: int) -> str:
    return f"{count} job" if count == 1 else f"{count} jobs"


def _blobs(settings: Settings) -> Finding:
    if settings.blobs is None:
        return Finding("blobs", "in the home")
    try:
        open_blobs(settings.blob_store).exists("0" * 64)
    except Exception as error:  # whatever a remote file system raises
        return Finding("blobs", f"{settings.blobs}: {type(error).__name__}: {error}", "put CELLGATE_BLOBS right")
    return Finding("blobs", settings.blobs)


def _port(settings: Settings) -> Finding:
    """Whether `serve` could listen; a service that does already is no obstacle, but a second one would fail."""
    place = f"{settings.host}:{settings.port}"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            remedy = "stop what listens there, unless it is Cellgate, or set CELLGATE_PORT"
            return Finding("address", f"{place}: {error.strerror}", remedy)
    return Finding("address", f"{place}, free")
