"""How long the API takes to be ready and what it holds: imports, start, memory with one model loaded. Loopback only."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.service import ROOT, running

IMPORTS = """
import sys, time
begun = time.perf_counter()
from models import catalog
for name in catalog.cards():
    catalog.codec(name)
import app.factory
print(time.perf_counter() - begun, "torch" in sys.modules)
"""


def imports() -> tuple[float, bool]:
    """Median seconds to import every card, codec and the factory, and whether torch came along."""
    taken = []
    torch = False
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", IMPORTS], cwd=ROOT, capture_output=True, text=True, check=True)
        seconds, loaded = done.stdout.split()
        taken.append(float(seconds))
        torch = torch or loaded == "True"
    return statistics.median(taken), torch


def ready(home: Path) -> tuple[float, float]:
    """Seconds from starting `cellgate serve` without workers to a ready answer, and its megabytes with a model loaded."""
    begun = time.perf_counter()
    with running(home, CELLGATE_WORKERS="0") as service:
        while service.http.get("/health/ready").status_code != 200:
            time.sleep(0.01)
        seconds = time.perf_counter() - begun
        for _ in range(50):
            service.http.post("/v1/sentiment", json={"inputs": ["I loved it", "no"]}).raise_for_status()
        return seconds, psutil.Process(service.process.pid).memory_info().rss / 2**20


def trained(home: Path) -> None:
    """A home with one sentiment model of default size."""
    sample = (ROOT / "models/tasks/sentiment/sample.jsonl").read_bytes()
    with running(home) as service:
        query = {"task": "sentiment", "name": "opinions"}
        headers = {"Content-Type": "application/x-ndjson"}
        service.http.post("/v1/datasets", params=query, content=sample, headers=headers).raise_for_status()
        body = {"kind": "train", "task": "sentiment", "dataset": "opinions", "model": "reviews"}
        job: httpx.Response = service.http.post("/v1/jobs", json=body).raise_for_status()
        assert service.ended(job.json()["id"])["state"] == "succeeded"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        trained(home)
        importing, torch = imports()
        runs = [ready(home) for _ in range(3)]
    seconds, megabytes = (statistics.median(column) for column in zip(*runs, strict=True))
    print("| what | figure | bar |\n|---|---|---|")
    print(f"| import of every card, codec and the factory (torch loaded: {torch}) | {importing:.2f} s | 0.8 s |")
    print(f"| API ready, from the command | {seconds:.2f} s | 2 s |")
    print(f"| resident memory, one model loaded and asked 50 times | {megabytes:.0f} MB | 200 MB |")


if __name__ == "__main__":
    main()
