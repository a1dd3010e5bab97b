"""Sequence classification with its history: 100 sequences of 10 steps and 5 features, two classes, an LSTM of 32.

    python examples/04_sequence_classification.py [--epochs 10] [--picture history.png]   # asks CELLGATE_URL

A fifth of the sequences is kept for validation. The accuracy of both parts after each epoch is printed, and
the service's own picture of the training is fetched where one is asked for.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from service import answers, checked, connected, finished, uploaded

SEQUENCES, STEPS, FEATURES = 100, 10, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--picture", type=Path, help="a PNG file for the picture of the training")
    asked = parser.parse_args()
    choose = np.random.default_rng(0)
    rows = [sequence(choose, index) for index in range(SEQUENCES)]
    with connected() as client:
        name = uploaded(client, "sequences", rows)
        config = {"cell": "lstm", "hidden": 32, "epochs": asked.epochs}
        job = finished(client, {"kind": "train", "task": "sequences", "dataset": name, "model": name, "config": config})
        for epoch in checked(client.get(f"/v1/jobs/{job['id']}/metrics"))["items"]:
            values = epoch["values"]
            both = f"accuracy {values['train_accuracy']:.2f}, of validation {values['accuracy']:.2f}"
            print(f"epoch {epoch['epoch']:2}: {both}")
        fresh = [sequence(choose, index) for index in range(4)]
        said = answers(client, "sequences", name, [{"values": row["values"]} for row in fresh])
        for row, output in zip(fresh, said, strict=True):
            print(f"{row['label']:7} is called {output['label']} ({output['score']:.0%})")
        if asked.picture:
            picture = client.get(f"/v1/jobs/{job['id']}/plot.png").raise_for_status()
            asked.picture.write_bytes(picture.content)


def sequence(choose: np.random.Generator, index: int) -> dict[str, Any]:
    """Noise whose first feature drifts up or down."""
    values = choose.normal(size=(STEPS, FEATURES))
    rises = index % 2 == 0
    values[:, 0] += np.linspace(0, 2 if rises else -2, STEPS)
    part = "validation" if index >= SEQUENCES * 4 // 5 else "train"
    return {"values": values.round(3).tolist(), "label": "rising" if rises else "falling", "split": part}


if __name__ == "__main__":
    main()
