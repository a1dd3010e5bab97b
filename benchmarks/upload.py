"""Takes a large JSON Lines file in, and prints how long it took and how much memory it needed.

python benchmarks/upload.py --megabytes 200
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

from app.blobs import digest, open_blobs
from app.db.engine import Database
from app.db.tables import Table
from app.services.datasets import Datasets
from app.settings import Settings
from models import catalog

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


def main() -> None:
    """Make the file, take it in, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--home", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = given.home or Path(folder)
        path = home / "large.jsonl"
        rows = written(path, given.megabytes)
        settings = Settings(home=home)
        database = Database(settings.database)
        Table.metadata.create_all(database.engine)
        datasets = Datasets(database, open_blobs(settings.blob_store), settings)
        catalog.card("sentiment")
        before, began = peak(), time.perf_counter()
        size = path.stat().st_size
        view = datasets.create(
            path, task="sentiment", name="large", media_type="application/x-ndjson", bytes=size, digest=digest(path)
        )
        seconds = time.perf_counter() - began
        assert view.rows == rows
        print(
            f"{size / 1e6:.0f} MB, {rows} rows in {seconds:.1f} s ({size / 1e6 / seconds:.0f} MB/s); "
            f"peak memory {peak():.0f} MB, grew by {peak() - before:.1f} MB"
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


def peak() -> float:
    """The most memory this process has held, in MB."""
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held / 1e6 if sys.platform == "darwin" else held / 1e3


if __name__ == "__main__":
    main()
