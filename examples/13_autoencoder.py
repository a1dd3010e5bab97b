"""Anomalies by an autoencoder: windows of 50 of a sine, noise added to some; what is badly reconstructed is odd.

    python examples/13_autoencoder.py [--epochs 30]    # asks the service at CELLGATE_URL

An LSTM of 32 units reads a window, its last state is repeated at every step, and an LSTM of 32 units writes the window
again (Malhotra et al. 2016, "LSTM-based Encoder-Decoder for Multi-sensor Anomaly Detection"). Clean windows teach. The
threshold lies at the 95th percentile of the scores of clean windows held out.
"""

from __future__ import annotations

import argparse

import numpy as np
from service import answers, connected, trained

WINDOW, LEARNT, ASKED, NOISE = 50, 200, 20, 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    asked = parser.parse_args()
    random = np.random.default_rng(0)
    clean = [window(random) for _ in range(LEARNT + ASKED)]
    rows = [
        {"values": values.tolist(), "split": "validation" if at % 5 == 0 else "train"}
        for at, values in enumerate(clean[:LEARNT])
    ]
    noisy = [values + random.normal(0, NOISE, WINDOW) for values in clean[LEARNT : LEARNT + ASKED // 2]]
    config = {
        "detector": "autoencoder",
        "window": WINDOW,
        "hidden": 32,
        "percentile": 95,
        "smoothing": 0,
        "epochs": asked.epochs,
        "patience": asked.epochs,
        "lr": 0.01,
    }
    with connected() as client:
        made = trained(client, "anomaly", rows, config)
        inputs = [{"values": values.tolist()} for values in (*noisy, *clean[LEARNT + ASKED // 2 :])]
        outputs = answers(client, "anomaly", made["model"], inputs)
    print(f"threshold {outputs[0]['threshold']:.2f}; validation loss {made['metrics']['validation_loss']:.3f}")
    for at, (item, output) in enumerate(zip(inputs, outputs, strict=True)):
        error = np.abs(np.array(item["values"]) - np.array(output["expected"])).mean()
        kind = "noisy" if at < len(noisy) else "clean"
        print(f"{kind} window: {sum(output['is_anomaly']):2d} of {WINDOW} steps flagged, mean error {error:.2f}")


def window(random: np.random.Generator) -> np.ndarray:
    """50 steps of a sine that begins anywhere, with a little noise of its own."""
    return np.sin(0.2 * np.arange(WINDOW) + random.uniform(0, 2 * np.pi)) + random.normal(0, 0.05, WINDOW)


if __name__ == "__main__":
    main()
