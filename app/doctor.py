"""What this machine offers and what stands in the way. Looks, and changes nothing."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from app.blobs import open_blobs
from app.db.engine import Database, cause
from app.db.migrate import is_current
from app.services.keys import Keys, KeysNeeded, refuse_without_keys
from app.settings import Settings
from models import catalog, devices


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
    there = next(each for each in (home.resolve(), *home.resolve().parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        return Finding("home", f"{home}: {there} cannot be written to", "set CELLGATE_HOME to a directory of your own")
    return Finding("home", f"{home}" if there == home.resolve() else f"{home}, made at the first start")


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
        keys = Keys(database, settings)
        yield Finding("keys", f"{sum(key.revoked_at is None for key in keys.list())} valid")
        refuse_without_keys(settings, keys)
    except SQLAlchemyError as error:
        yield Finding("database", f"{name}: {cause(error)}", "start it, or put CELLGATE_DATABASE_URL right")
    except KeysNeeded as error:
        yield Finding("keys", "none", str(error))
    finally:
        database.close()


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
