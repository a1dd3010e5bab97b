"""A stacked LSTM for sequences of scalars: 64 units, 32 on top of them, one number out, any length in.

    python examples/01_stacked_scalars.py [--epochs 15]    # asks the service at CELLGATE_URL

Each series counts up or down in steps of its own; the network says which number comes next.
"""

from __future__ import annotations

import argparse

import numpy as np
from service import answers, connected, trained

QUESTIONS = [
    [10, 20, 30],
    [5, 6, 7, 8, 9, 10, 11, 12],
    [0.5 * step for step in range(40)],
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=15)
    epochs = parser.parse_args().epochs
    choose = np.random.default_rng(0)
    rows = [counting(choose) for _ in range(60)]
    with connected() as client:
        made = trained(
            client, "forecasting", rows, {"layers": [64, 32], "horizon": 1, "look_back": 40, "epochs": epochs}
        )
        print(f"trained version {made['version']} of {made['model']}")
        said = answers(client, "forecasting", made["model"], [{"values": values} for values in QUESTIONS])
        for values, output in zip(QUESTIONS, said, strict=True):
            print(f"{len(values):3} numbers, the last {values[-3:]}: next {output['mean'][0]:.2f}")


def counting(choose: np.random.Generator) -> dict[str, list[float]]:
    """A series that counts in steps of its own, with a little noise."""
    start, step = choose.uniform(-50, 50), choose.choice([-1, 1]) * choose.uniform(0.5, 10)
    times = np.arange(choose.integers(20, 60))
    return {"values": (start + step * (times + choose.normal(0, 0.02, len(times)))).tolist()}


if __name__ == "__main__":
    main()
