"""Starts a Ray cluster of one node for the tests: on the loopback alone, with a token. Knows no job of ours."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

STARTING = 60.0
"""Seconds that the cluster may take to start."""


@contextlib.contextmanager
def cluster(cpus: int) -> Iterator[dict[str, str]]:
    """A running cluster, and the variables by which a client finds it and is let in. Its own processes are ended on
    leaving, by their ids: there may be other clusters on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # the path of a socket must be short
    given = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # where it is 0, on Linux as well, it listens on the loopback alone
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # Ray would have them wait for whatever else runs
        "OMP_NUM_THREADS": "1",
    }
    options = ["--num-cpus", str(cpus), "--object-store-memory", "100000000", "--temp-dir", str(folder)]
    here = ["--node-ip-address", "127.0.0.1", "--port", str(port), "--include-dashboard", "false"]
    command = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", "--head", "--block"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *here, *options],
            env={**os.environ, **given},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _await(process, folder / "log")
        yield {**given, "RAY_ADDRESS": f"127.0.0.1:{port}"}
    finally:
        _end(psutil.Process(process.pid))
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def _await(process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + STARTING
    while b"Ray runtime started" not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"Ray did not start: {log.read_text()[-2000:]}")
        time.sleep(0.1)


def _end(first: psutil.Process) -> None:
    """The process and all that came of it."""
    family = [first, *first.children(recursive=True)]
    for each in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(family, timeout=10)
