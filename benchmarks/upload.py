"""Posts a large JSON Lines file to a service of its own; prints how long it took and how much memory the API needed.

python benchmarks/upload.py --megabytes 200
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.service import Service, running

WORDS = [
    "the",
    "a",
    "film",
    "is",
    "was",
    "not",
    "good",
    "bad",
    "actor",
    "scene",
    "plot",
    "long",
    "short",
    "moving",
    "dull",
    "bright",
    "end",
    "never",
    "always",
]
LOOK_EVERY = 0.02


def main() -> None:
    """Make the file, post it, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.jsonl"
        rows = written(path, given.megabytes)
        with running(Path(folder) / "home", CELLGATE_WORKERS="0") as service:
            post(service, path, rows)


def post(service: Service, path: Path, rows: int) -> None:
    """Post the file while the memory of the API process is looked at."""
    api, done = psutil.Process(service.process.pid), threading.Event()
    before = peak = api.memory_info().rss

    def look() -> None:
        nonlocal peak
        while not done.wait(LOOK_EVERY):
            peak = max(peak, api.memory_info().rss)

    looking = threading.Thread(target=look)
    looking.start()
    began = time.perf_counter()
    try:
        with path.open("rb") as file:
            query, headers = {"task": "sentiment", "name": "large"}, {"Content-Type": "application/x-ndjson"}
            answer = service.http.post("/v1/datasets", params=query, headers=headers, content=file, timeout=600)
        seconds = time.perf_counter() - began
    finally:
        done.set()
        looking.join()
    assert answer.raise_for_status().json()["rows"] == rows
    size = path.stat().st_size / 1e6
    print(
        f"{size:.0f} MB, {rows} rows over HTTP in {seconds:.1f} s ({size / seconds:.0f} MB/s); "
        f"API process: peak {peak / 2**20:.0f} MB, before {before / 2**20:.0f} MB"
    )


def written(path: Path, megabytes: int) -> int:
    """Write a file of made-up reviews; returns how many."""
    chance, rows, size = random.Random(0), 0, 0  # noqa: S311  made-up data
    with path.open("w") as file:
        while size < megabytes * 1_000_000:
            text = " ".join(chance.choices(WORDS, k=60))
            size += file.write(f'{{"text": "{rows} {text}", "label": "{"good" if rows % 2 else "bad"}"}}\n')
            rows += 1
    return rows


if __name__ == "__main__":
    main()
