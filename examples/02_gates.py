"""The cell drawn: input, forget and output gate, candidate and memory of an LSTM while it reads one sequence.

    python examples/02_gates.py [--epochs 30] [--picture gates.png]   # asks the service at CELLGATE_URL

The service trains four units to tell whether a pulse came early or late, reads one sequence, and says what each
gate said at each step. The script holds it against the equations (Hochreiter and Schmidhuber 1997; Gers et al. 2000),
c = f * c + i * c~ and h = o * tanh(c), and draws it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from service import checked, connected, trained

STEPS, UNITS = 20, 4
ROWS = [("gates", "input"), ("gates", "forget"), ("gates", "cell"), ("gates", "output"), ("memory", ""), ("hidden", "")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--picture", type=Path, help="a PNG or SVG file for the gates over time")
    asked = parser.parse_args()
    choose = np.random.default_rng(0)
    with connected() as client:
        config = {"cell": "lstm", "hidden": UNITS, "bidirectional": False, "epochs": asked.epochs}
        model = trained(client, "sequences", [pulse(choose) for _ in range(120)], config)["model"]
        item = {"values": pulse(choose)["values"]}
        found = checked(client.post(f"/v1/models/{model}/gates", json={"input": item}))
    layer = found["layers"][0]
    print(f"the equations hold to {deviation(layer):.0e}")
    for name, shares in found["saturation"].items():
        print(f"{name:6} gate: shut {shares['left']:.0%}, open {shares['right']:.0%} of the time")
    lives = ["for ever" if life is None else f"{life:.1f}" for life in found["memory_half_life"]]
    print(f"steps until each unit's memory halves: {', '.join(lives)}")
    if asked.picture:
        draw(layer, np.array(item["values"]), asked.picture)


def pulse(choose: np.random.Generator) -> dict[str, Any]:
    """A little noise with one pulse in its first or its second half."""
    early = bool(choose.integers(2))
    values = choose.normal(scale=0.1, size=STEPS)
    values[choose.integers(1, STEPS // 2) + (0 if early else STEPS // 2 - 1)] += 2.0
    return {"values": values.round(3).tolist(), "label": "early" if early else "late"}


def deviation(layer: dict[str, Any]) -> float:
    """How far the memory and the state are from what the gates say they are, over all steps."""
    gates = {name: np.array(values) for name, values in layer["gates"].items()}
    memory, hidden = np.array(layer["memory"]), np.array(layer["hidden"])
    before = np.concatenate([np.zeros((1, memory.shape[1])), memory[:-1]])
    written = gates["forget"] * before + gates["input"] * gates["cell"]
    return float(max(np.abs(written - memory).max(), np.abs(gates["output"] * np.tanh(memory) - hidden).max()))


def draw(layer: dict[str, Any], values: np.ndarray, path: Path) -> None:
    """The sequence above, and below it a row for each gate, the memory and the state: units by steps."""
    with mpl.rc_context({"font.size": 9, "svg.hashsalt": "gates"}):
        figure = Figure(figsize=(7, 8), layout="constrained")
        axes = figure.subplots(len(ROWS) + 1, 1, sharex=True)
        axes[0].bar(range(len(values)), values, color="#444444")
        axes[0].set_ylabel("read")
        for axis, (kind, name) in zip(axes[1:], ROWS, strict=True):
            shown = np.array(layer[kind][name] if name else layer[kind]).T
            gate = name in {"input", "forget", "output"}
            top = 1.0 if gate else max(1.0, float(np.abs(shown).max()))
            image = axis.imshow(
                shown, aspect="auto", cmap="viridis" if gate else "RdBu_r", vmin=0 if gate else -top, vmax=top
            )
            axis.set_ylabel({"cell": "candidate", "": kind}.get(name, name))
            axis.set_yticks([])
            figure.colorbar(image, ax=axis, pad=0.01)
        axes[-1].set_xlabel("step")
        axes[-1].xaxis.get_major_locator().set_params(integer=True)
        figure.savefig(path)


if __name__ == "__main__":
    main()
