"""Negative log-likelihood per time step on the JSB chorales (quarter notes, 229/76/77 as given).

    python benchmarks/melody.py DATA [--seeds 0] [--only independent|joint]

DATA holds `melody/jsb-chorales-quarter.json`. A step's NLL is summed over the 88 keys of the roll, in nats, and
averaged over all steps of the part, the first of each chorale included, as in Boulanger-Lewandowski et al. 2012 and
Bai et al. 2018. `independent` gives each key its own chance; `joint` chooses the keys of a chord one after the other.
The unigram gives each key its share in the training part. The validation part picks the epoch.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from models import catalog
from models.monitor import Silent
from models.trainer import train

CONFIGS = {
    "independent": {"chords": "independent", "lr": 0.005, "epochs": 30},
    "joint": {"chords": "joint", "lr": 0.003, "epochs": 15},
}
PAPER = "LSTM 8.45, GRU 8.43, TCN 8.10 (independent keys, Bai et al. 2018)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", choices=[*CONFIGS], help="one of the two heads")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    chorales = json.loads((asked.data / "melody/jsb-chorales-quarter.json").read_text())
    print(f"unigram: {unigram(chorales['train'], chorales['test']):.2f}; in the literature: {PAPER}")
    card, codec, network = catalog.card("melody"), catalog.codec("melody"), catalog.network("melody")
    names = {"train": "train", "validation": "valid", "test": "test"}
    parts = {part: [card.row(steps=steps) for steps in chorales[name]] for part, name in names.items()}
    for name in [asked.only] if asked.only else CONFIGS:
        for seed in asked.seeds:
            trained = train(codec, network, parts, card.config(**CONFIGS[name], seed=seed), monitor=Silent())
            found = {part: trained.metrics[f"{part}_nll"] for part in ("validation", "test")}
            print(
                f"{name}, seed {seed}: test {found['test']:.3f}, validation {found['validation']:.3f}, "
                f"{len(trained.history)} epochs, {trained.seconds:.0f} s, {trained.parameters} parameters",
                flush=True,
            )


def unigram(train: list[list[list[int]]], test: list[list[list[int]]]) -> float:
    """The NLL per step of keys that sound as often as they do on the whole, whatever was heard."""
    learnt, held = (roll(chorales) for chorales in (train, test))
    chance = (learnt.sum(0) + 1) / (len(learnt) + 2)
    return float(-(held @ np.log(chance) + (1 - held) @ np.log(1 - chance)).mean())


def roll(chorales: list[list[list[int]]]) -> np.ndarray:
    """All steps of all chorales, (steps, 88): 1 where a key sounds."""
    steps = [keys for chorale in chorales for keys in chorale]
    found = np.zeros((len(steps), 88))
    for row, keys in zip(found, steps, strict=True):
        row[[int(key) - 21 for key in keys]] = 1
    return found


if __name__ == "__main__":
    main()
