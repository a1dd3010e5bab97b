"""What checkpoints cost: the same training with a worker's keeper and with none, taking turns.

    python benchmarks/checkpoint_cost.py [--rows 6000] [--epochs 4] [--rounds 3] [--seed 0]

Sentiment with its default options on made sentences; the trainer's own interval (30 s, and each epoch's end unless that
came too soon after the last). A checkpoint is written and synced to the disk, hashed and moved into a blob store, all
within the training process: a worker does the second half beside it. The bar: 3 % of the time of training, by the
medians of the CPU times; wall times tell of the neighbours, too.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from app.blobs import FolderBlobs
from benchmarks.training_throughput import rows
from models import catalog
from models.checkpoint import Checkpoint
from models.trainer import train

BAR = 0.03


class Shelf:
    """Keeps checkpoints as a worker does."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.blobs = folder, FolderBlobs(folder / "blobs")
        self.sizes: list[int] = []
        self.seconds = 0.0

    def latest(self) -> None:
        return None

    def resumed(self, *, epoch: int, step: int) -> None: ...

    def keep(self, checkpoint: Checkpoint) -> None:
        began = time.perf_counter()
        path = self.folder / "latest.safetensors"
        checkpoint.save(path)
        self.sizes.append(path.stat().st_size)
        self.blobs.put(path)
        self.seconds += time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    codec, network = catalog.codec("sentiment"), catalog.network("sentiment")
    config = catalog.card("sentiment").config(seed=given.seed, epochs=given.epochs, patience=given.epochs)
    parts = {"train": rows(given.rows, given.seed), "validation": rows(given.rows // 10, given.seed + 1)}
    cpu: dict[bool, list[float]] = {True: [], False: []}
    wall: dict[bool, list[float]] = {True: [], False: []}
    shelves: list[Shelf] = []
    train(codec, network, {name: part[:50] for name, part in parts.items()}, config)  # what is loaded with the first
    for _ in range(given.rounds):
        for kept in (True, False):
            with tempfile.TemporaryDirectory() as folder:
                shelf = Shelf(Path(folder)) if kept else None
                began = time.process_time(), time.perf_counter()
                trained = train(codec, network, parts, config, keeper=shelf)
                cpu[kept].append(time.process_time() - began[0])
                wall[kept].append(time.perf_counter() - began[1])
                shelves += [shelf] if shelf else []
    counted = [len(shelf.sizes) for shelf in shelves]
    size = statistics.median(size for shelf in shelves for size in shelf.sizes) / 1e6
    print(f"{given.rows} rows, {given.epochs} epochs, {trained.parameters} parameters, seed {given.seed}")
    print(f"{given.rounds} rounds, {min(counted)} to {max(counted)} checkpoints of {size:.0f} MB each time\n")
    print("| | with checkpoints | without | dearer by |\n|---|---|---|---|")
    for name, times in (("CPU", cpu), ("wall", wall)):
        one, other = statistics.median(times[True]), statistics.median(times[False])
        print(f"| {name}, median | {one:.1f} s | {other:.1f} s | {100 * (one / other - 1):.2f} % |")
    share = statistics.median(shelf.seconds / took for shelf, took in zip(shelves, wall[True], strict=True))
    print(f"\nwriting, syncing, hashing and moving them took {100 * share:.2f} % of the wall time (median)")
    dearer = statistics.median(cpu[True]) / statistics.median(cpu[False]) - 1
    print(f"bar {100 * BAR:.0f} %: {'met' if dearer < BAR else 'missed'}")


if __name__ == "__main__":
    main()
