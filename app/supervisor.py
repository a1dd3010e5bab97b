"""`cellgate serve`: the API in this process and its workers beside it. Knows processes, no job and no request."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
import uvicorn

from app import log, main, scratch
from app.db.engine import Database
from app.db.migrate import upgrade
from app.factory import create_app
from app.services.datasets import INCOMING
from app.services.keys import Keys, refuse_without_keys
from app.settings import Settings

STEADY = 30.0
"""Seconds after which a worker that ends counts as having worked: it is restarted at once."""
SHORTEST, LONGEST = 0.5, 30.0
"""Seconds between restarts of a worker that keeps dying."""
GRACE = 5.0
"""Seconds that requests in flight, and then workers, are given to end."""


class Workers:
    """Worker processes, restarted when they die: at once when they had worked, later and later when not."""

    def __init__(self, command: Sequence[str], *, count: int, environment: Mapping[str, str]) -> None:
        self.command, self.environment = list(command), dict(environment)
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._keep, args=(n,), daemon=True) for n in range(count)]
        self._alive: dict[int, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start every worker and keep it running."""
        for thread in self._threads:
            thread.start()

    def pids(self) -> list[int]:
        """The processes that run now."""
        with self._lock:
            return [process.pid for process in self._alive.values()]

    def stop(self) -> None:
        """End every worker and what it started; kill what does not end within `GRACE` seconds."""
        self._stopping.set()
        with self._lock:
            alive = list(self._alive.values())
        for process in alive:
            process.terminate()
        deadline = time.monotonic() + GRACE
        for process in alive:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _kill(process)
        for thread in self._threads:
            thread.join(1.0)

    def _keep(self, number: int) -> None:
        pause = SHORTEST
        while not self._stopping.is_set():
            started = time.monotonic()
            with self._lock:
                if self._stopping.is_set():
                    return
                process = self._alive[number] = subprocess.Popen(  # noqa: S603
                    self.command, env=self.environment, start_new_session=True
                )
            code = process.wait()
            if self._stopping.is_set():
                return
            _kill(process)  # what it left running
            pause = SHORTEST if time.monotonic() - started > STEADY else min(pause * 2, LONGEST)
            structlog.get_logger().warning("worker ended", code=code, worker=number, restart_in=pause)
            self._stopping.wait(pause)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a worker's whole process group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


class Server(uvicorn.Server):
    """Uvicorn, which says where it listens once it does."""

    greeting = ""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(self.greeting, flush=True)


def environment(settings: Settings) -> dict[str, str]:
    """What a worker inherits: this process's variables, these settings, and threads set on purpose."""
    given = {
        f"CELLGATE_{name.upper()}": str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in settings.model_dump().items()
        if value is not None
    }
    threads = {"OMP_NUM_THREADS": str(settings.threads), "OMP_WAIT_POLICY": "PASSIVE"}
    return {**os.environ, **given, **threads, "PYTHONUNBUFFERED": "1"}


def serve(settings: Settings) -> int:
    """Migrate, listen, and run until SIGTERM or SIGINT. Returns the exit code; raises `KeysNeeded`."""
    log.configure(settings)
    settings.home.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database)
    upgrade(database)
    refuse_without_keys(settings, Keys(database, settings))
    database.close()
    listening = _listen(settings)
    bound = settings.model_copy(update={"port": listening.getsockname()[1]})
    server = Server(_config(create_app(main.build(bound))))
    server.greeting = _greeting(bound)
    command = [sys.executable, "-m", "app.cli", "worker", "--parent", str(os.getpid())]
    workers = Workers(command, count=bound.workers, environment=environment(bound))
    workers.start()
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises what it caught again, once it has ended
        signal.signal(number, lambda *_: None)
    try:
        scratch.sweep(settings.home / INCOMING)
        with scratch.settled():
            server.run(sockets=[listening])
    finally:
        workers.stop()
        listening.close()
    return 0 if server.started else 1


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=1024)
    except OSError as error:
        raise OSError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}") from None


def _config(app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(GRACE) - 1,
        h11_max_incomplete_event_size=64 * 1024,
    )


def _greeting(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in {"0.0.0.0", "localhost"} else settings.host  # noqa: S104
    base = f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
    return f"Cellgate listens on {base}\nIts documentation is at {base}/docs\nStop it with Ctrl-C."
