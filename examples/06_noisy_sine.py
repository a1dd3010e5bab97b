"""Forecasting a noisy sine: 1000 points of sin(0.1 t) + 0.1 noise, 50 of them read, 50 units, one step ahead.

    python examples/06_noisy_sine.py [--epochs 15] [--picture sine.svg]    # asks the service at CELLGATE_URL

The first 800 points are learnt from. Each of the last 200 is then forecast from those before it, and the
actual is drawn against the predicted: in the terminal, and as a picture where one is asked for.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from service import answers, connected, trained

POINTS, LEARNT, LOOK_BACK, NOISE = 1000, 800, 50, 0.1
WIDE, HIGH = 57, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--picture", type=Path, help="an SVG file to draw into")
    asked = parser.parse_args()
    noise = np.random.default_rng(0).normal(0, NOISE, POINTS)
    series = [math.sin(0.1 * time) + float(noise[time]) for time in range(POINTS)]
    config = {"cell": "lstm", "hidden": 50, "look_back": LOOK_BACK, "horizon": 1, "epochs": asked.epochs}
    with connected() as client:
        made = trained(client, "forecasting", [{"values": series[:LEARNT]}], config)
        windows = [{"values": series[time - LOOK_BACK : time]} for time in range(LEARNT, POINTS)]
        predicted = [output["mean"][0] for output in answers(client, "forecasting", made["model"], windows)]
    actual, before = series[LEARNT:], series[LEARNT - 1 : -1]
    for time in range(0, 64, 2):
        print(line(actual[time], predicted[time]))
    print("o actual, x predicted, * both")
    print(
        f"root mean square error {rmse(predicted, actual):.3f}; of the last value {rmse(before, actual):.3f}; ", end=""
    )
    print(f"of the noise {NOISE}")
    if asked.picture:
        asked.picture.write_text(svg(actual, predicted), encoding="utf-8")


def rmse(said: list[float], actual: list[float]) -> float:
    return math.sqrt(sum((one - other) ** 2 for one, other in zip(said, actual, strict=True)) / len(actual))


def line(actual: float, predicted: float) -> str:
    """One moment of the drawing, time running down."""
    row = [" "] * (WIDE + 1)
    for value, mark in ((actual, "o"), (predicted, "x")):
        at = min(WIDE, max(0, round((value + 1.5) / 3 * WIDE)))
        row[at] = mark if row[at] == " " else "*"
    return "".join(row).rstrip()


def svg(actual: list[float], predicted: list[float]) -> str:
    """Both series as a picture."""
    lines = ""
    for values, colour in ((actual, "#999"), (predicted, "#c33")):
        points = " ".join(f"{4 * time},{HIGH - value * HIGH / 1.5:.1f}" for time, value in enumerate(values))
        lines += f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {4 * len(actual)} {2 * HIGH}">{lines}</svg>\n'


if __name__ == "__main__":
    main()
