"""Training speed: the trainer against a plain PyTorch loop, on the same network, data, optimiser and batch memory.

    python benchmarks/training_throughput.py [--rows 4000] [--epochs 2] [--seed 0] [--rounds 3]

The data: made sentences of 4 to 56 words, lengths as in movie reviews. The plain loop is what one writes
first: `DataLoader(shuffle=True)`, padding to the longest of the batch, packing, AdamW, clipping.
It gets the mean number of examples of the trainer's batches. The two take turns, and the best round
of each counts. The bar: 1.5.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from models import catalog
from models.batch import Batch, Example, batches
from models.learner import CLIP
from models.monitor import Silent
from models.trainer import train

BAR = 1.5
LENGTHS = (21.0, 9.5, 4, 56)
"""Mean, deviation, least and greatest number of words: those of Pang and Lee's sentences."""


class Watch(Silent):
    """Remembers how fast each epoch learnt."""

    def __init__(self) -> None:
        self.speeds: list[float] = []

    def epoch(self, report) -> None:
        self.speeds.append(report.values["examples_per_second"])


def rows(n: int, seed: int) -> list:
    """Sentences of made words; a few of the words tell the label."""
    generator = np.random.default_rng(seed)
    row, made = catalog.card("sentiment").row, []
    mean, deviation, least, greatest = LENGTHS
    for index in range(n):
        length = int(np.clip(generator.normal(mean, deviation), least, greatest))
        ids = generator.zipf(1.3, size=length) % 5000
        label = ("negative", "positive")[index % 2]
        made.append(row(text=" ".join([*map(word, ids[1:]), f"{label}ly"]), label=label))
    return made


def word(index: int) -> str:
    """A word of letters alone, so that it stays one token."""
    return "".join(chr(97 + index // 26**place % 26) for place in range(4))


def plain(net: nn.Module, examples: Sequence[Example], *, size: int, epochs: int, lr: float) -> list[float]:
    """Examples a second of each epoch of a loop that shuffles, pads and packs."""
    codec, network = catalog.codec("sentiment"), catalog.network("sentiment")
    loader = DataLoader(examples, batch_size=size, shuffle=True, collate_fn=codec.collate)
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr)
    net.train()
    speeds = []
    for _ in range(epochs):
        began = time.perf_counter()
        for batch in loader:
            tensors: Batch = batch.mapped(torch.from_numpy)
            optimizer.zero_grad()
            total, n = network.loss(net, tensors)
            (total / n).backward()
            nn.utils.clip_grad_norm_(net.parameters(), CLIP)
            optimizer.step()
        speeds.append(len(examples) / (time.perf_counter() - began))
    return speeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    codec, network = catalog.codec("sentiment"), catalog.network("sentiment")
    config = catalog.card("sentiment").config(seed=asked.seed, epochs=asked.epochs, patience=asked.epochs)
    parts = {"train": rows(asked.rows, asked.seed), "validation": rows(20, asked.seed + 1)}
    ours, theirs = [], []
    for _ in range(asked.rounds):
        watch = Watch()
        trained = train(codec, network, parts, config, monitor=watch)
        ours += watch.speeds
        examples = trained.examples["train"]
        lengths = [example.length for example in examples]
        cut = sum(1 for _ in batches(lengths, steps=config.batch_steps))
        torch.manual_seed(asked.seed)
        fresh = network.build(trained.state, config)
        network.initialise(fresh, trained.state, config, None)
        theirs += plain(fresh, examples, size=round(len(examples) / cut), epochs=asked.epochs, lr=config.lr)
    ratio = max(ours) / max(theirs)
    print(f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} thread, torch {torch.__version__}")
    print(f"{len(examples)} sentences of {np.mean(lengths):.0f} words, seed {asked.seed}, best of {len(ours)} epochs")
    print(f"plain loop, shuffled and packed  {max(theirs):8.0f} examples/s")
    print(f"trainer                          {max(ours):8.0f} examples/s")
    print(f"ratio                            {ratio:8.2f}  (bar {BAR}: {'met' if ratio >= BAR else 'missed'})")


if __name__ == "__main__":
    main()
