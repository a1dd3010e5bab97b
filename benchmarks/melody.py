"""Negative log-likelihood per time step on the JSB chorales (quarter notes, 229/76/77 as given).

    python benchmarks/melody.py DATA [--seeds 0] [--only independent|joint]

DATA holds `melody/jsb-chorales-quarter.json`. A step's NLL is summed over the 88 keys of the roll, in nats, and
averaged over the steps of all chorales together, so that a long chorale counts more and padding does not count. Bai et
al. 2018, whose figures are quoted, leave out the first step of each chorale (their networks have nothing to predict it
from): `later` counts as they do, `all` counts the first step too, as the metric of the task does. `independent` gives
each key its own chance; `joint` chooses the keys of a chord one after the other. The unigram gives each key its share
in the training part. The validation part picks the epoch.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from models.runtimes.torch_run import TorchRun
from models.task import Part
from models.tasks.melody.codec import CODEC, listened
from models.tasks.melody.network import NETWORK
from models.tasks.melody.schema import MelodyConfig, Row
from models.tasks.melody.voices import voice
from models.trainer import Trained, train

CONFIGS = {
    "independent": {"chords": "independent", "transpose": 4, "lr": 0.006, "epochs": 120},
    "joint": {"chords": "joint"},
}
"""Chosen by the validation part: transposing helps keys that stand alone (8.25 a step, 8.36 with the defaults) and does
not help chords (5.08, and 5.00 with the defaults)."""
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
    names = {"train": "train", "validation": "valid", "test": "test"}
    parts = {part: [Row(steps=steps) for steps in chorales[name]] for part, name in names.items()}
    for name in [asked.only] if asked.only else CONFIGS:
        for seed in asked.seeds:
            trained = train(CODEC, NETWORK, parts, MelodyConfig(**CONFIGS[name], seed=seed))
            for part in ("validation", "test"):
                every, later = counted(trained, part)
                print(f"{name}, seed {seed}, {part}: later {later:.3f}, all {every:.3f}", flush=True)
            print(
                f"  {len(trained.history)} epochs, {trained.seconds:.0f} s, {trained.parameters} parameters", flush=True
            )


def counted(trained: Trained, part: Part) -> tuple[float, float]:
    """The NLL per step of a part: of all steps, and without the first of each chorale."""
    run, batch = TorchRun(trained.net, NETWORK), CODEC.collate(trained.examples[part])
    found, _, _ = listened(run, voice(trained.state), batch)
    return float(np.concatenate(found).mean()), float(np.concatenate([steps[1:] for steps in found]).mean())


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
