"""One study of 12 trials over HTTP, by one worker and then by two: how much sooner it ends.

    python benchmarks/tune.py [--trials 12] [--rows 1200] [--epochs 6] [--seed 0] [--workers 1 2]

Sentiment on made sentences; `lr` and `dropout` are searched, so that every trial costs the same until it is pruned. Each
worker has one thread and has run one training before. Two that ask at once know less of each other's trials than
one that asks after each, and may try and prune otherwise: trained epochs are counted, and the speed is told by time
and by epochs an hour. Runs a service of its own for each number of workers. The bar: 1.6 times as fast, by time.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.training_throughput import rows
from tests.service import Service, running

BAR = 1.6
SEARCH = {"lr": {"low": 1e-4, "high": 3e-2, "log": True}, "dropout": {"low": 0.0, "high": 0.6}}
NDJSON = {"Content-Type": "application/x-ndjson"}


@dataclass(frozen=True, kw_only=True)
class Study:
    """How a study went."""

    workers: int
    seconds: float
    epochs: int
    pruned: int
    best: float


def lines(count: int, seed: int, **split: str) -> bytes:
    made = ({**row.model_dump(mode="json", exclude_none=True), **split} for row in rows(count, seed))
    return b"".join(json.dumps(row).encode() + b"\n" for row in made)


def warm(service: Service, workers: int) -> None:
    """Every worker has run a training: they begin at the same time, and last until all have one."""
    config = {"epochs": 40, "patience": 40, "hidden": 8, "embedding": 8}
    body = {"kind": "train", "task": "sentiment", "dataset": "few", "promote": "never", "config": config}
    asked = [service.http.post("/v1/jobs", json={**body, "model": f"warm-{n}"}) for n in range(workers)]
    ended = [service.ended(each.raise_for_status().json()["id"], within=120) for each in asked]
    assert len({job["worker"] for job in ended}) == workers, "a worker was not ready in time"


def studied(workers: int, given: argparse.Namespace) -> Study:
    """The study, by so many workers."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"CELLGATE_WORKERS": str(workers), "CELLGATE_THREADS": "1"}
        with running(Path(folder), **settings) as service:
            train = lines(given.rows, given.seed, split="train")
            validation = lines(given.rows // 4, given.seed + 1, split="validation")
            for name, content in (("few", lines(60, given.seed)), ("made", train + validation)):
                query = {"task": "sentiment", "name": name}
                service.http.post("/v1/datasets", params=query, content=content, headers=NDJSON).raise_for_status()
            warm(service, workers)
            config = {"epochs": given.epochs, "patience": given.epochs}
            body = {"kind": "tune", "task": "sentiment", "dataset": "made", "model": "tuned", "config": config}
            began = time.perf_counter()
            asked = {**body, "search": SEARCH, "trials": given.trials, "seed": given.seed}
            posted = service.http.post("/v1/jobs", json=asked).raise_for_status().json()
            job = service.ended(posted["id"], within=1800)
            return told(workers, time.perf_counter() - began, job, service)


def told(workers: int, seconds: float, job: dict[str, Any], service: Service) -> Study:
    if job["state"] != "succeeded":
        raise SystemExit(f"the study {job['state']}: {job['error']}")
    trials = job["result"]["trials"]
    each = [service.http.get(f"/v1/jobs/{trial['job']}").raise_for_status().json() for trial in trials]
    return Study(
        workers=workers,
        seconds=seconds,
        epochs=sum(int(child["progress"]["epoch"]) for child in each),
        pruned=sum(trial["state"] == "pruned" for trial in trials),
        best=job["result"]["metrics"]["validation_accuracy"],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--rows", type=int, default=1200)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    given = parser.parse_args()
    print(f"{given.trials} trials of at most {given.epochs} epochs over {given.rows} rows, seed {given.seed}, ", end="")
    print(f"{os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}\n")
    print("| workers | the study took | trained epochs | epochs an hour | pruned | best accuracy, validation |")
    print("|---|---|---|---|---|---|")
    found = []
    for workers in given.workers:
        study = studied(workers, given)
        found.append(study)
        rate = 3600 * study.epochs / study.seconds
        print(
            f"| {workers} | {study.seconds:.1f} s | {study.epochs} | {rate:.0f} | {study.pruned} | {study.best:.3f} |",
            flush=True,
        )
    times = found[0].seconds / found[-1].seconds
    print(f"\n{times:.2f} times as fast (bar {BAR}): {'met' if times >= BAR else 'missed'}")


if __name__ == "__main__":
    main()
