"""200 listeners on the events of one job, on SQLite and on Postgres: does each hear all, and does the API still answer?

    python benchmarks/listeners.py [--listeners 200] [--rows 4000] [--epochs 12] [--databases sqlite postgres]

A service as an operator starts it, one worker, one training on made sentences. The listeners, in a process of their own,
follow `GET /v1/jobs/{id}/events` from the job's beginning to its end; meanwhile `GET /health/live` is asked every
20 ms. What each heard is held against what a listener hears that comes when all is over. The bars: no event
missed, repeated or out of order, and 50 ms at the 99th percentile.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.tune import NDJSON, lines
from tests.postgres import cluster
from tests.service import Service, running

BAR = 0.05
EVERY = 0.02


async def heard(host: str, port: int, path: str) -> list[int]:
    """The ids of the events of one stream, from its beginning to its end."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n".encode()
    )
    await writer.drain()
    found: list[int] = []
    try:
        while line := await reader.readline():
            if line.startswith(b"id:"):
                found.append(int(line[3:]))
    finally:
        writer.close()
    return found


async def all_heard(url: str, job: str, count: int) -> list[list[int]]:
    """What each of so many listeners at once heard."""
    parts = urlsplit(url)
    place = str(parts.hostname), int(parts.port or 80), f"/v1/jobs/{job}/events"
    return list(await asyncio.gather(*(heard(*place) for _ in range(count))))


def listen(url: str, job: str, count: int, told: multiprocessing.Queue[list[list[int]]]) -> None:
    told.put(asyncio.run(all_heard(url, job, count)))


def asked(service: Service, job: str) -> list[float]:
    """Seconds of each `GET /health/live` until the job has ended."""
    found: list[float] = []
    looked = time.monotonic()
    while True:
        begun = time.perf_counter()
        service.http.get("/health/live").raise_for_status()
        found.append(time.perf_counter() - begun)
        time.sleep(max(0.0, EVERY - found[-1]))
        if time.monotonic() - looked > 1.0:
            looked = time.monotonic()
            if service.http.get(f"/v1/jobs/{job}").json()["state"] not in {"queued", "running"}:
                return found


def measured(service: Service, given: argparse.Namespace) -> tuple[list[list[int]], list[int], list[float]]:
    """What the listeners heard, what there was to hear, and how long the API took to answer."""
    rows = lines(given.rows, 0, split="train") + lines(given.rows // 4, 1, split="validation")
    query = {"task": "sentiment", "name": "made"}
    service.http.post("/v1/datasets", params=query, content=rows, headers=NDJSON).raise_for_status()
    config = {"epochs": given.epochs, "patience": given.epochs}
    body = {"kind": "train", "task": "sentiment", "dataset": "made", "model": "m", "config": config}
    job = service.http.post("/v1/jobs", json=body).raise_for_status().json()["id"]
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    listening = context.Process(target=listen, args=(service.url, job, given.listeners, told))
    listening.start()
    times = asked(service, job)
    found = told.get(timeout=60)
    listening.join(10)
    return found, asyncio.run(all_heard(service.url, job, 1))[0], times


@contextlib.contextmanager
def address(name: str) -> Iterator[dict[str, str]]:
    """The settings of a database."""
    if name == "sqlite":
        yield {}
        return
    with cluster() as server:
        yield {"CELLGATE_DATABASE_URL": server("postgres")}


def p99(seconds: Sequence[float]) -> float:
    return statistics.quantiles(seconds, n=100, method="inclusive")[98]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("listeners", 200), ("rows", 4000), ("epochs", 12)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgres"], choices=["sqlite", "postgres"])
    given = parser.parse_args()
    print(
        "| database | listeners | events | heard all, in order | `GET /health/live`, median | p99 | worst | bar, p99 |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    missed = False
    for name in given.databases:
        with (
            tempfile.TemporaryDirectory() as folder,
            address(name) as settings,
            running(Path(folder), CELLGATE_WORKERS="1", **settings) as service,
        ):
            found, every, times = measured(service, given)
        whole = sum(each == every for each in found)
        numbers = " | ".join(f"{each * 1000:.1f} ms" for each in (statistics.median(times), p99(times), max(times)))
        print(f"| {name} | {len(found)} | {len(every)} | {whole} | {numbers} | 50 ms |", flush=True)
        missed |= whole < given.listeners or p99(times) > BAR
    sys.exit("a bar was missed" if missed else 0)


if __name__ == "__main__":
    main()
