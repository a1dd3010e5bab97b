"""LSTM against GRU: a thousand sequences of fifty steps and five features, three classes, as one compare job.

    python examples/14_lstm_against_gru.py [--epochs 10] [--seeds 3]    # asks the service at CELLGATE_URL

The features are noise; in one of them, another in each sequence, lies a slow, a middling or a fast wave, and
that is the class. Both cells see the same data, the same seeds and the same number of epochs.
"""

from __future__ import annotations

import argparse

import numpy as np
from service import connected, finished, uploaded

FEATURES = 5
PERIODS = {"slow": 25.0, "middling": 12.0, "fast": 6.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"rows": 1000, "steps": 50, "units": 64, "epochs": 10, "seeds": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    config = {"hidden": asked.units, "layers": 1, "bidirectional": False, "epochs": asked.epochs}
    with connected() as client:
        name = uploaded(client, "sequences", rows(asked.rows, asked.steps))
        request = {"kind": "compare", "task": "sequences", "dataset": name, "model": name, "config": config}
        result = finished(client, {**request, "cells": ["lstm", "gru"], "seeds": asked.seeds})["result"]
    print(f"cell  {result['part']} accuracy  parameters  seconds of training")
    for row in result["cells"]:
        spread = "" if row["sd"] is None else f" +- {100 * row['sd']:.1f}"
        print(f"{row['cell']:5} {100 * row['mean']:.1f} %{spread}  {row['parameters']}  {row['seconds']:.1f}")
    for test in result["tests"]:
        print(test["says"])
    best = result["best"]
    print(
        f"best by validation: {best['cell']}, seed {best['seed']}; "
        f"served as version {result['version']} of {result['model']}"
    )


def rows(count: int, steps: int) -> list[dict[str, object]]:
    """A fifth of them is for validation."""
    random, time = np.random.default_rng(0), np.arange(steps)
    labels = list(PERIODS)
    made: list[dict[str, object]] = []
    for number in range(count):
        label = labels[number % len(labels)]
        values = random.normal(0, 0.7, size=(steps, FEATURES))
        wave = np.sin(2 * np.pi * (time / PERIODS[label] + random.uniform()))
        values[:, random.integers(FEATURES)] += wave
        part = "validation" if number % 5 == 0 else "train"
        made.append({"values": values.round(3).tolist(), "label": label, "split": part})
    return made


if __name__ == "__main__":
    main()
