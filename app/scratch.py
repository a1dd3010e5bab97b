"""Where a process keeps its temporary files, and what becomes of them when it is killed. Knows folders, no purpose."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from multiprocessing.util import Finalize
from pathlib import Path

import psutil

PREFIX = "cellgate-"


@contextlib.contextmanager
def settled() -> Iterator[Path]:
    """A folder of this process's own for all its temporary files; those of processes that are gone go first.

    Nothing removes what a killed process was writing: a copy of a data set, half an artifact. The folder's name
    says whose it is, so that the next process of this machine can.
    """
    sweep(Path(tempfile.gettempdir()))
    own = Path(tempfile.mkdtemp(prefix=prefix()))
    before, tempfile.tempdir = tempfile.tempdir, str(own)
    try:
        yield own
    finally:
        tempfile.tempdir = before
        if any(own.glob("pymp-*")):  # multiprocessing removes this one at the very end (-100), and fails if it is gone
            Finalize(None, shutil.rmtree, (own,), {"ignore_errors": True}, exitpriority=-101)
        else:
            shutil.rmtree(own, ignore_errors=True)


def prefix() -> str:
    """How the name of a temporary folder begins that `sweep` may remove once this process is gone."""
    return f"{PREFIX}{_host()}-{os.getpid()}-"


def sweep(within: Path) -> int:
    """Remove the folders whose process is gone; returns how many."""
    gone = [path for path in within.glob(f"{PREFIX}{_host()}-*") if not _lives(path)]
    for path in gone:
        shutil.rmtree(path, ignore_errors=True)
    return len(gone)


def _lives(path: Path) -> bool:
    found = re.fullmatch(rf"{PREFIX}{_host()}-(\d+)-\w+", path.name)
    return found is None or psutil.pid_exists(int(found.group(1)))


def _host() -> str:
    """This machine or container, for several may share a folder, and process ids mean nothing outside."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]
