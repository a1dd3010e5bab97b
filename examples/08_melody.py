"""A melody continued: 1000 random notes of C D E F G A B, read in windows of 10 by an LSTM of 64; 50 notes go on.

    python examples/08_melody.py [--epochs 20] [--seed 0] [--midi melody.mid]   # asks the service at CELLGATE_URL

Notes at random have nothing to learn but that all seven are as likely: the NLL of a note is at best log 7 = 1.946.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from service import answers, connected, trained

NAMES, NOTES, WINDOW = "CDEFGAB", 1000, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the continuation: the same seed, the same melody")
    parser.add_argument("--midi", type=Path, help="a MIDI file for the continuation")
    asked = parser.parse_args()
    played = np.random.default_rng(0).choice(list(NAMES), NOTES)
    rows = [{"notes": [{"pitch": name} for name in part]} for part in np.split(played, NOTES // 50)]
    with connected() as client:
        result = trained(client, "melody", rows, {"hidden": 64, "window": WINDOW, "epochs": asked.epochs})
        item = {"notes": rows[0]["notes"][:WINDOW]}
        (said,) = answers(client, "melody", result["model"], [item], length=50, seed=asked.seed)
        print("began with ", " ".join(note["pitch"] for note in item["notes"]))
        print("goes on    ", " ".join(named(note["pitch"]) for note in said["notes"]))
        print(f"nll        {result['metrics']['nll']:.3f} a note; of seven equal chances {math.log(7):.3f}")
        if asked.midi:
            body = {"inputs": [item], "model": result["model"], "params": {"length": 50, "seed": asked.seed}}
            asked.midi.write_bytes(
                client.post("/v1/melody", json=body, headers={"Accept": "audio/midi"}).raise_for_status().content
            )


def named(pitch: int) -> str:
    """A MIDI number as a name."""
    return ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"][pitch % 12]


if __name__ == "__main__":
    main()
