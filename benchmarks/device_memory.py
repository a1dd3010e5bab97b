"""Ten versions of 50 MB on a budget for four: what fails under random traffic, and what memory the API then takes.

    python benchmarks/device_memory.py [--seconds 60] [--callers 8] [--rounds 200]

Ten text classifiers with random weights are imported into a service whose `CELLGATE_DEVICE_BUDGET` holds four of them,
and callers ask any of them in turn. Then one version is loaded and unloaded again and again. The base is the memory
of the API that has loaded and let go of one version.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import psutil
from versions import classifier, texts

sys.path.insert(0, str(Path(__file__).parent.parent))

from app.serving.room import SHARE
from models.footprint import ProcessMeter, measured
from models.predictor import load
from tests.service import Service, running

VERSIONS, FITTING = 10, 4
HIDDEN = 512
MIB = 2**20


def rss(service: Service) -> float:
    """Megabytes of the API process."""
    return float(psutil.Process(service.process.pid).memory_info().rss) / MIB


def traffic(service: Service, *, seconds: float, callers: int) -> tuple[Counter[int], float]:
    """Answers by status, 0 for none, and the most memory meanwhile."""
    ends, counts, items = time.monotonic() + seconds, Counter[int](), texts(256)
    most, lock = rss(service), threading.Lock()

    def call(seed: int) -> None:
        dice = random.Random(seed)  # noqa: S311
        with httpx.Client(base_url=service.url, timeout=60) as http:
            while time.monotonic() < ends:
                inputs = dice.sample(items, dice.choice([1, 1, 1, 8, 32]))
                body = {"model": f"m{dice.randrange(VERSIONS)}", "inputs": inputs}
                try:
                    status = http.post("/v1/sentiment", json=body).status_code
                except httpx.HTTPError:
                    status = 0
                with lock:
                    counts[status] += 1

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(callers)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        most = max(most, rss(service))
        time.sleep(0.02)
    return counts, most


def reloaded(service: Service, rounds: int) -> list[float]:
    """Megabytes after each round of loading, asking and unloading one version."""
    found = []
    for _ in range(rounds):
        service.http.post("/v1/sentiment", json={"model": "m0", "inputs": ["one"]}).raise_for_status()
        service.http.post("/v1/models/m0/unload").raise_for_status()
        time.sleep(0.12)  # it is freed when its last caller is gone
        found.append(rss(service))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=200)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        made = [classifier(Path(scratch) / f"m{index}", hidden=HIDDEN, seed=index) for index in range(VERSIONS)]
        taken = measured(lambda: load(made[0].folder), ProcessMeter(), "cpu")
        budget = math.ceil(1.05 * FITTING * taken.rest * SHARE / (SHARE - 1))
        print(f"weights {(made[0].folder / 'weights.safetensors').stat().st_size / MIB:.0f} MB; {taken}", flush=True)
        settings = {"CELLGATE_WORKERS": "0", "CELLGATE_LOG_LEVEL": "error", "CELLGATE_DEVICE_BUDGET": str(budget)}
        with running(Path(scratch) / "home", **settings) as service:
            for index, version in enumerate(made):
                zipped = {"content": version.archive.read_bytes(), "headers": {"Content-Type": "application/zip"}}
                service.http.post(f"/v1/models/import?name=m{index}", **zipped, timeout=60).raise_for_status()
            base = reloaded(service, 3)[-1]
            counts, most = traffic(service, seconds=asked.seconds, callers=asked.callers)
            print(f"{sum(counts.values())} requests by status: {dict(counts)}")
            bound = budget / MIB + base
            print(
                f"budget {budget / MIB:.0f} MB + base {base:.0f} MB = {bound:.0f} MB; most {most:.0f} MB ({most / bound:.2f})"
            )
            for index in range(VERSIONS):
                service.http.post(f"/v1/models/m{index}/unload")
            rounds = reloaded(service, asked.rounds)
            print(
                f"after {asked.rounds} rounds of load and unload: {rounds[-1]:.0f} MB, after ten of them {rounds[min(9, len(rounds) - 1)]:.0f} MB"
            )


if __name__ == "__main__":
    main()
