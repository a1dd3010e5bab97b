"""Accuracy on JapaneseVowels (Kudo et al. 1999): nine speakers, 12 features over 7 to 29 steps, 270 to learn from.

    python benchmarks/sequences.py DATA [--seeds 0 1 2] [--config '{"hidden": 32}']

DATA holds `sequences/JapaneseVowels_TRAIN.ts` and `_TEST.ts`. Of the training rows a fifth of each label, chosen by
the seed, picks the epoch. The plain network reads the last state of a BiLSTM, learns the rows as they are, and is else
the same; the nearest neighbour knows no epochs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from classify import PLAIN, kept_back, trained
from ts_files import nearest, read

from models import catalog


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--config", type=json.loads, default={})
    asked = parser.parse_args()
    torch.set_num_threads(1)
    train, test = (read(asked.data / f"sequences/JapaneseVowels_{part}.ts") for part in ("TRAIN", "TEST"))
    card = catalog.card("sequences")
    rows, held = ([card.row(values=values, label=label) for values, label in found] for found in (train, test))

    def parts(seed: int) -> dict[str, list]:
        return {**kept_back(rows, seed=seed), "test": held}

    print(f"nearest neighbour: {nearest(train, test):.1%}")
    trained("sequences", "plain BiLSTM, last state", parts, asked.seeds, {**PLAIN, **asked.config})
    trained("sequences", "the defaults", parts, asked.seeds, asked.config)


if __name__ == "__main__":
    main()
