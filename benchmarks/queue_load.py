"""The queue under load, on Postgres: 8 workers at 1,000 queued jobs, at none, and at one now and then.

    python benchmarks/queue_load.py [--jobs 1000] [--workers 8] [--idle 20] [--rings 200]

Each worker is a process with the loop and the queue of `cellgate worker`; only the work itself is left out: it fails
at once. What is printed: how long a claim takes while the queue is full and all workers ask; how many statements an
idle worker sends a second; and how long a job waits for one of the idle workers, by the job's own times. The bars:
200 ms at the 99th percentile, five statements a second.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from sqlalchemy import event

from app import log
from app.db.migrate import upgrade
from app.db.repositories.jobs import JobRepository, Offer
from app.jobs.executors import Message, Order
from app.jobs.loop import Loop
from app.jobs.parts import Parts
from app.jobs.places import Places
from app.jobs.problems import problem
from app.jobs.queue import Claim, Queue
from app.services.jobs import Jobs
from app.services.requests import TrainRequest
from app.settings import Settings
from tests.postgres import cluster

SAMPLE = Path(__file__).parent.parent / "models/tasks/sentiment/sample.jsonl"
LATENCY, LOAD = 0.2, 5.0


class Nothing:
    """An executor whose work ends as soon as it begins."""

    def warm(self) -> None: ...

    def start(self, order: Order) -> Nothing:
        return self

    def messages(self, timeout: float) -> list[Message]:
        return [("failed", problem("bad-data", "nothing was to be done", "none"))]

    def stop(self, reason: str) -> None: ...

    def answer(self, text: str | None) -> None: ...

    def kill(self) -> None: ...

    def close(self) -> None: ...


class Timed(Queue):
    """A queue that keeps how long each claim took that got a job."""

    seconds: list[float]

    def claim(self, offers: Callable[[], Sequence[Offer]]) -> Claim | None:
        begun = time.perf_counter()
        found = super().claim(offers)
        if found is not None:
            self.seconds.append(time.perf_counter() - begun)
        return found


@dataclass(frozen=True)
class Signals:
    """What the workers and the one who watches them share."""

    go: Any
    stop: Any
    sent: Any
    """Statements of each worker so far."""
    claims: Any


def work(number: int, settings: Settings, signals: Signals) -> None:
    """One worker, from `go` to `stop`."""
    log.configure(settings)
    parts = Parts.of(settings, executor=Nothing(), places=Places("cpu"), name=f"worker-{number}")

    def counted(*_: object) -> None:
        signals.sent[number] += 1

    event.listen(parts.database.engine, "before_cursor_execute", counted)
    stopping = threading.Event()
    loop = Loop(parts, stopping)
    loop.queue = timed = Timed(parts.database, worker=parts.name, lease_seconds=settings.lease_seconds)
    timed.seconds = []
    signals.go.wait()
    thread = threading.Thread(target=loop.run)
    thread.start()
    signals.stop.wait()
    stopping.set()
    thread.join()
    signals.claims.put(timed.seconds)


def submit(jobs: Jobs) -> str:
    return jobs.submit(TrainRequest(task="sentiment", dataset="few", model="m")).id


def drained(parts: Parts, jobs: Jobs, made: Sequence[str]) -> None:
    """Wait until every job has ended."""
    until = time.monotonic() + 200
    while jobs.get(made[-1]).state != "failed" or left(parts):
        assert time.monotonic() < until, "the queue is not empty"
        time.sleep(0.2)


def left(parts: Parts) -> int:
    with parts.database.read() as session:
        jobs = JobRepository(session)
        return jobs.waiting() + jobs.leased(parts.database.now(session))


def waits(jobs: Jobs, made: Sequence[str]) -> list[float]:
    """Seconds from queued to running, by the jobs' own times."""
    found = []
    for job in made:
        at = {step.state: step.at for step in jobs.get(job).transitions}
        found.append((at["running"] - at["queued"]).total_seconds())
    return found


def p99(seconds: Sequence[float]) -> float:
    return statistics.quantiles(seconds, n=100, method="inclusive")[98]


def told(what: str, seconds: Sequence[float]) -> str:
    middle = statistics.median(seconds) * 1000
    return f"| {what} | {middle:.1f} ms | {p99(seconds) * 1000:.1f} ms | {max(seconds) * 1000:.1f} ms | 200 ms |"


def measured(settings: Settings, given: argparse.Namespace) -> tuple[list[float], list[float], list[float], float]:
    """Claims at a full queue, statements a second of each idle worker, waits for an idle worker, jobs a second."""
    parts = Parts.of(settings, executor=Nothing(), places=Places("cpu"), name="watcher")
    upgrade(parts.database)
    rows = settings.home / "rows.jsonl"
    rows.write_bytes(SAMPLE.read_bytes())
    parts.datasets.create(
        rows, task="sentiment", name="few", media_type="application/x-ndjson", bytes=1, digest="0" * 64
    )
    jobs = Jobs(parts.database, settings=settings)
    context = multiprocessing.get_context("spawn")
    signals = Signals(context.Event(), context.Event(), context.Array("q", given.workers), context.Queue())
    workers = [context.Process(target=work, args=(n, settings, signals)) for n in range(given.workers)]
    for each in workers:
        each.start()
    try:
        made = [submit(jobs) for _ in range(given.jobs)]
        time.sleep(5.0)
        signals.go.set()
        begun = time.perf_counter()
        drained(parts, jobs, made)
        rate = given.jobs / (time.perf_counter() - begun)
        time.sleep(3.0)
        before = list(signals.sent)
        time.sleep(given.idle)
        idle = [(now - then) / given.idle for now, then in zip(list(signals.sent), before, strict=True)]
        single = []
        for _ in range(given.rings):
            single.append(submit(jobs))
            time.sleep(0.1)
        drained(parts, jobs, single)
        signals.stop.set()
        claims = [each for _ in workers for each in signals.claims.get(timeout=20)]
        return claims, idle, waits(jobs, single), rate
    finally:
        for each in workers:
            each.join(10)
            each.kill()
        parts.database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("jobs", 1000), ("workers", 8), ("idle", 20), ("rings", 200)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    with cluster() as server, tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder), database_url=server("postgres"), log_level="error")
        claims, idle, single, rate = measured(settings, given)
    print(f"{given.workers} workers on Postgres, {given.jobs} jobs; {rate:.0f} jobs a second\n")
    print("| what | median | p99 | worst | bar, p99 |\n|---|---|---|---|---|")
    print(told(f"a claim, {given.jobs} jobs queued and fewer", claims))
    print(told("one job for idle workers, queued to running", single))
    print("\n| an idle worker | statements a second, mean | most | bar |\n|---|---|---|---|")
    print(f"| {given.idle} s of an empty queue | {statistics.mean(idle):.2f} | {max(idle):.2f} | 5 |")
    missed = p99(claims) > LATENCY or p99(single) > LATENCY or max(idle) > LOAD
    sys.exit("a bar was missed" if missed else 0)


if __name__ == "__main__":
    main()
