"""bf16 autocast against fp32 on this CPU: the trainer's speed and what it learns, turn by turn on the same data.

    python benchmarks/precision.py [--rows 2000] [--epochs 2] [--rounds 3] [--seed 0]

The data: the made sentences of `training_throughput.py`, and a sine with noise for the forecaster. `precision: auto` is
fp32 on a CPU unless this says otherwise on the machine at hand.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from training_throughput import rows as sentences

from models import catalog
from models.monitor import Silent
from models.trainer import train


class Watch(Silent):
    """Remembers how fast each epoch learnt, and the last validation loss."""

    def __init__(self) -> None:
        self.speeds: list[float] = []
        self.loss = float("nan")

    def epoch(self, report) -> None:
        self.speeds.append(report.values["examples_per_second"])
        self.loss = report.values["validation_loss"]


def sines(n: int, seed: int) -> list:
    """Noisy sines of 120 steps."""
    generator = np.random.default_rng(seed)
    row, steps = catalog.card("forecasting").row, np.arange(120)
    return [
        row(values=[*np.round(np.sin(steps / 6 + phase) + generator.normal(0, 0.1, 120), 4)])
        for phase in generator.uniform(0, 6, n)
    ]


def compared(task: str, parts: Mapping[str, Sequence[Any]], *, epochs: int, rounds: int, seed: int) -> None:
    """Train in both precisions by turns, and print the row of a table."""
    watches = {"fp32": [], "bf16": []}
    for _ in range(rounds):
        for precision, done in watches.items():
            config = catalog.card(task).config(seed=seed, epochs=epochs, patience=epochs, precision=precision)
            watch = Watch()
            train(catalog.codec(task), catalog.network(task), parts, config, monitor=watch)
            done.append(watch)
    speed = {name: statistics.median(s for watch in done for s in watch.speeds) for name, done in watches.items()}
    loss = {name: done[-1].loss for name, done in watches.items()}
    print(
        f"| {task} | {speed['fp32']:.0f} | {speed['bf16']:.0f} | {speed['bf16'] / speed['fp32']:.2f} "
        f"| {loss['fp32']:.4f} | {loss['bf16']:.4f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    asked = {"epochs": given.epochs, "rounds": given.rounds, "seed": given.seed}
    held = given.seed + 1
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} thread, torch {torch.__version__}, "
    )
    print(f"{torch.backends.cpu.get_cpu_capability()}; seed {given.seed}, medians of {given.rounds} rounds\n")
    print("| task | fp32, examples/s | bf16 | ratio | validation loss, fp32 | bf16 |\n|---|---|---|---|---|---|")
    texts = {"train": sentences(given.rows, given.seed), "validation": sentences(200, held)}
    compared("sentiment", texts, **asked)
    waves = {"train": sines(given.rows // 20, given.seed), "validation": sines(20, held)}
    compared("forecasting", waves, **asked)


if __name__ == "__main__":
    main()
