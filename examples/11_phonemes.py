"""Phonemes from MFCC frames: 1000 utterances of 20 x 13, 40 phonemes, a label for each frame, an LSTM of 128 units.

    python examples/11_phonemes.py [--utterances 1000] [--hidden 128] [--epochs 8]   # asks CELLGATE_URL

The frames are made here: each phoneme has its place among the coefficients and lasts two to six frames, in
noise. For sound itself, post a zip of WAV files with a manifest and ask with `{"audio": base64}`; see
`benchmarks/phonemes.py`.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from service import answers, connected, trained

FRAMES, COEFFICIENTS = 20, 13
SPELT = "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH SIL"
PHONEMES = SPELT.split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=1000)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=8)
    asked = parser.parse_args()
    choose = np.random.default_rng(0)
    places = choose.normal(size=(len(PHONEMES), COEFFICIENTS))
    rows = [utterance(choose, places) for _ in range(asked.utterances)]
    config = {"cell": "lstm", "hidden": asked.hidden, "epochs": asked.epochs}
    with connected() as client:
        result = trained(client, "phonemes", rows, config)
        metrics = result["metrics"]
        print(f"frames never learnt from: {metrics['frame_accuracy']:.1%} right")
        print(f"edits for each phoneme: {metrics['phone_error_rate']:.2f}")
        fresh = utterance(choose, places)
        (output,) = answers(client, "phonemes", result["model"], [{"frames": fresh["frames"]}])
    print("true ", " ".join(fresh["labels"]))
    print("heard", " ".join(output["frames"]))
    for phone in output["phonemes"]:
        print(f"{phone['label']:3} frames {phone['start']:2} to {phone['end']:2} ({phone['score']:.0%})")


def utterance(choose: np.random.Generator, places: np.ndarray) -> dict[str, Any]:
    """20 frames and their labels."""
    labels: list[int] = []
    while len(labels) < FRAMES:
        labels += [int(choose.integers(len(PHONEMES)))] * int(choose.integers(2, 7))
    labels = labels[:FRAMES]
    frames = places[labels] + choose.normal(scale=0.7, size=(FRAMES, COEFFICIENTS))
    return {"frames": np.round(frames, 3).tolist(), "labels": [PHONEMES[label] for label in labels]}


if __name__ == "__main__":
    main()
