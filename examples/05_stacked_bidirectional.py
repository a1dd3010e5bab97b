"""A stacked bidirectional classifier: 100 sequences of 20 steps and 5 features, three classes, BiLSTM 32 -> BiLSTM 16.

    python examples/05_stacked_bidirectional.py [--epochs 20]    # asks the service at CELLGATE_URL

Where in a sequence a pulse stands is its class: early, in the middle, or late.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from service import answers, connected, trained

SEQUENCES, STEPS, FEATURES = 100, 20, 5
CLASSES = ["early", "middle", "late"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    epochs = parser.parse_args().epochs
    choose = np.random.default_rng(0)
    rows = [sequence(choose, index) for index in range(SEQUENCES)]
    with connected() as client:
        made = trained(client, "sequences", rows, {"layers": [32, 16], "bidirectional": True, "epochs": epochs})
        print(f"accuracy on sequences never learnt from {made['metrics']['accuracy']:.2f}")
        fresh = [sequence(choose, index) for index in range(3)]
        said = answers(client, "sequences", made["model"], [{"values": row["values"]} for row in fresh])
        for row, output in zip(fresh, said, strict=True):
            print(f"{row['label']:6} is called {output['label']} ({output['score']:.0%})")


def sequence(choose: np.random.Generator, index: int) -> dict[str, Any]:
    """Noise with a pulse in all features."""
    which = index % len(CLASSES)
    values = choose.normal(scale=0.5, size=(STEPS, FEATURES))
    start = 1 + 7 * which + choose.integers(0, 3)
    values[start : start + 3] += 1.5
    return {"values": values.round(3).tolist(), "label": CLASSES[which]}


if __name__ == "__main__":
    main()
