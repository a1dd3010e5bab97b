"""`cellgate serve`: the API, in this process or in several, and its workers. Knows processes, no job and no request."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
import uvicorn

from app import allocator, log, main, scratch
from app.db.engine import Database
from app.db.migrate import upgrade
from app.factory import create_app
from app.services.datasets import INCOMING
from app.services.keys import Keys, refuse_without_keys
from app.serving.loaded import cores
from app.settings import Settings

STEADY = 30.0
"""Seconds after which a worker that ends counts as having worked: it is restarted at once."""
SHORTEST, LONGEST = 0.5, 30.0
"""Seconds between restarts of a worker that keeps dying."""
GRACE = 5.0
"""Seconds that requests in flight, and then workers, are given to end."""


SWITCH = 0.0005
"""Seconds after which a thread lets others run Python: a stream that is done waits no longer for the event loop."""
YOUNG = 5_000
"""New objects that a collection waits for: requests leave no cycles; looking for some took a twentieth of the time."""
BACKLOG = 1024
"""Connections that may wait to be accepted."""


class Kept:
    """Processes of one kind, restarted when they die: at once when they had worked, later and later when not."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        count: int,
        environment: Mapping[str, str],
        inherited: Sequence[int] = (),
    ) -> None:
        """`command` are arguments of `cellgate`; `inherited` are open files that the processes may write to."""
        self.name, self.environment, self.inherited = name, dict(environment), tuple(inherited)
        self.command = [sys.executable, "-m", "app.cli", *command, "--parent", str(os.getpid())]
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._keep, args=(n,), daemon=True) for n in range(count)]
        self._alive: dict[int, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start every process and keep it running."""
        for thread in self._threads:
            thread.start()

    def pids(self) -> list[int]:
        """The processes that run now."""
        with self._lock:
            return [process.pid for process in self._alive.values()]

    def stop(self) -> None:
        """End every process and what it started; kill what does not end within `GRACE` seconds."""
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
                    self.command, env=self.environment, start_new_session=True, pass_fds=self.inherited
                )
            code = process.wait()
            if self._stopping.is_set():
                return
            _kill(process)  # what it left running
            pause = SHORTEST if time.monotonic() - started > STEADY else min(pause * 2, LONGEST)
            structlog.get_logger().warning(f"{self.name} ended", code=code, number=number, restart_in=pause)
            self._stopping.wait(pause)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its whole group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


class Server(uvicorn.Server):
    """Uvicorn, which tells once it listens."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], object]) -> None:
        super().__init__(config)
        self.ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            gc.collect()
            gc.freeze()  # what a start leaves stays: collections need not look at it again
            gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
            self.ready()


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
    workers = Kept("worker", ["worker"], count=bound.workers, environment=environment(bound))
    workers.start()
    try:
        scratch.sweep(settings.home / INCOMING)
        if bound.processes > 1:
            return _several(bound)
        return _here(bound, listening, lambda: print(_greeting(bound), flush=True))
    finally:
        workers.stop()
        listening.close()


def answer(settings: Settings, *, parent: int, ready: int) -> int:
    """One of several API processes of a port, until told to stop or the parent is gone.

    A byte to `ready` says that it listens. Returns the exit code.
    """
    log.configure(settings)

    def watch(server: Server) -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        server.should_exit = True

    with _bound(settings, shared=True) as listening:
        listening.listen(BACKLOG)
        return _here(settings, listening, lambda: os.write(ready, b"."), watch)


def _here(
    settings: Settings,
    listening: socket.socket,
    ready: Callable[[], object],
    watch: Callable[[Server], None] | None = None,
) -> int:
    """Answer in this process; returns the exit code."""
    sys.setswitchinterval(SWITCH)
    allocator.settle(arenas=settings.streams or cores())
    server = Server(_config(create_app(main.build(settings))), ready)
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises what it caught again, once it has ended
        signal.signal(number, lambda *_: None)
    if watch is not None:
        threading.Thread(target=watch, args=(server,), daemon=True).start()
    with scratch.settled():
        server.run(sockets=[listening])
    return 0 if server.started else 1


def _several(settings: Settings) -> int:
    """Let several processes answer, each with a share of cores and budget; greets once all of them listen."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    count, budget = settings.processes, settings.device_budget
    share = {
        "streams": settings.streams or max(1, cores() // count),
        "device_budget": None if budget is None else max(1, budget // count),
    }
    told, tell = os.pipe()
    processes = Kept(
        "api process",
        ["answer", "--ready", str(tell)],
        count=count,
        environment=environment(settings.model_copy(update=share)),
        inherited=[tell],
    )
    processes.start()
    try:
        threading.Thread(target=_greet, args=(settings, told), daemon=True).start()
        while not stopping.wait(1.0):
            pass
    finally:
        processes.stop()
        os.close(tell)
    return 0


def _greet(settings: Settings, told: int) -> None:
    """Greet once every process has said that it listens; what they say when they were restarted is read and dropped."""
    with open(told, "rb", buffering=0) as ready:
        heard = 0
        while byte := ready.read(1):
            heard += len(byte)
            if heard == settings.processes:
                print(_greeting(settings), flush=True)


def _listen(settings: Settings) -> socket.socket:
    """A socket that listens; of several processes, one that keeps their port and does not listen itself."""
    try:
        if settings.processes == 1:
            listening = _bound(settings, shared=False)
            listening.listen(BACKLOG)
            return listening
        with _bound(settings, shared=False) as probe:  # nobody else is there
            port = probe.getsockname()[1]
        return _bound(settings.model_copy(update={"port": port}), shared=True)
    except OSError as error:
        raise OSError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}") from None


def _bound(settings: Settings, *, shared: bool) -> socket.socket:
    """`shared`: the kernel spreads connections over all processes that listen so."""
    opened = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        opened.bind((settings.host, settings.port))
    except OSError:
        opened.close()
        raise
    return opened


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
