"""The worker process: settings to loop. Loads no torch itself; its children do."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading

from app import log, scratch, settings
from app.jobs.cluster import RayExecutor
from app.jobs.executors import Executor, LocalExecutor
from app.jobs.loop import Loop
from app.jobs.parts import Parts
from app.jobs.places import Places
from app.settings import Settings


def run(given: Settings, stopping: threading.Event) -> None:
    """Work until `stopping` is set."""
    with scratch.settled() as own:
        os.environ["TMPDIR"] = str(own)  # for the processes that learn
        _work(given, stopping)


def _work(given: Settings, stopping: threading.Event) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", str(given.threads))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads on busy cores cost a factor of ten
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # the exporter warns of what is then checked by numbers
    log.configure(given)
    executor, places = _engine(given)
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
    parts = Parts.of(given, executor=executor, places=places, name=name)
    try:
        Loop(parts, stopping).run()
    finally:
        executor.close()
        parts.database.close()


def _engine(given: Settings) -> tuple[Executor, Places]:
    """What runs the jobs, and the devices that it runs them on. Raises `Invalid`."""
    if given.executor == "ray":
        cluster = RayExecutor(os.environ.get("RAY_ADDRESS"))
        return cluster, Places(given.device, probe=cluster)
    return LocalExecutor(), Places(given.device)


def main() -> None:
    """Run until SIGTERM or SIGINT; then hand the job back and end."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    run(settings.load(), stopping)


if __name__ == "__main__":
    main()
