"""Runs `cellgate serve` as an operator would, on a free port with a home of its own. Knows processes and HTTP."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Service:
    """A running service."""

    url: str
    process: subprocess.Popen[str]
    http: httpx.Client
    lines: list[str]
    """What it printed so far."""

    def ended(self, job: str, *, within: float = 60.0) -> dict[str, Any]:
        """The job once it has ended."""
        return self.until(job, {"succeeded", "failed", "cancelled"}, within=within)

    def until(self, job: str, states: set[str], *, within: float = 60.0) -> dict[str, Any]:
        """The job once it is in one of the states."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            view: dict[str, Any] = self.http.get(f"/v1/jobs/{job}").raise_for_status().json()
            if view["state"] in states:
                return view
            time.sleep(0.05)
        raise AssertionError(f"after {within} s: {view}\n{''.join(self.lines[-30:])}")

    def stop(self) -> float:
        """End it as an operator would; the seconds it took."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        return time.monotonic() - started


@contextlib.contextmanager
def running(home: Path, **settings: str) -> Iterator[Service]:
    """A service that answers; it is ended on leaving."""
    own = {"CELLGATE_HOME": str(home), "CELLGATE_PORT": "0", "CELLGATE_LEASE_SECONDS": "3", **settings}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CELLGATE_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "serve"],
        cwd=ROOT,
        env={**kept, **own},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    heard: queue.Queue[str] = queue.Queue()
    reader = threading.Thread(target=_read, args=(process, lines, heard), daemon=True)
    reader.start()
    try:
        url = _address(process, heard, lines)
        with httpx.Client(base_url=url, timeout=30) as http:
            yield Service(url, process, http, lines)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
        reader.join(5)
        if process.stdout:
            process.stdout.close()


def _read(process: subprocess.Popen[str], lines: list[str], heard: queue.Queue[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        heard.put(line)


def _address(process: subprocess.Popen[str], heard: queue.Queue[str], lines: list[str]) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(queue.Empty):
            found = re.search(r"listens on (http://\S+)", heard.get(timeout=0.2))
            if found:
                return found.group(1)
    raise AssertionError(f"it did not start: {''.join(lines)}")
