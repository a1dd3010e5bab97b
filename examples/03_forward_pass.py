"""The forward pass written out: ten steps, five features and four units in NumPy, then a trained model's own.

    python examples/03_forward_pass.py [--epochs 15]    # asks the service at CELLGATE_URL

First the equations of the cell run on random numbers from a zero state. Then a forecaster is trained over
HTTP, its version downloaded, and the same equations with its weights give the answer that the service gives.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import zipfile
from collections.abc import Mapping

import numpy as np
from safetensors.numpy import load
from service import answers, connected, trained

from models import catalog

STEPS, FEATURES, UNITS = 10, 5, 4
ASKED = [112.0, 118.0, 132.0, 129.0, 121.0, 135.0, 148.0, 148.0, 136.0, 119.0]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def lstm(x: np.ndarray, w: np.ndarray, u: np.ndarray, b: np.ndarray) -> np.ndarray:
    """x (T, F), w (4H, F), u (4H, H), b (4H,) -> the hidden state at every step (T, H), from a zero state."""
    hidden = memory = np.zeros(u.shape[1])
    states = []
    for step in x:
        i, f, g, o = np.split(w @ step + u @ hidden + b, 4)
        memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(g)
        hidden = sigmoid(o) * np.tanh(memory)
        states.append(hidden)
    return np.stack(states)


class WrittenOut:
    """Runs a forecaster by the equations above: the seam that ONNX Runtime and torch stand behind, in NumPy."""

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self.weights = {name: array.astype(np.float64) for name, array in weights.items()}

    def __call__(self, function: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = zip(inputs["values"], inputs["lengths"], inputs["facts"], strict=True)
        return {"quantiles": np.stack([self._one(values[:length], facts) for values, length, facts in rows])}

    def _one(self, values: np.ndarray, facts: np.ndarray) -> np.ndarray:
        """values (T, F), facts (G,) -> (h, Q)."""
        w, cell = self.weights, "encoder.layers.0."
        bias = w[cell + "bias_ih_l0"] + w[cell + "bias_hh_l0"]
        last = lstm(values, w[cell + "weight_ih_l0"], w[cell + "weight_hh_l0"], bias)[-1]
        read = w["hidden.weight"] @ np.concatenate([last, facts]) + w["hidden.bias"]
        read *= 0.5 * (1 + np.array([math.erf(x / math.sqrt(2)) for x in read]))
        levels = 11
        said = (w["head.weight"] @ read + w["head.bias"]).reshape(-1, levels)
        away, middle = np.log1p(np.exp(said - 1)), levels // 2
        rises = np.cumsum(away[:, middle + 1 :], axis=1)
        falls = np.cumsum(away[:, :middle][:, ::-1], axis=1)[:, ::-1]
        return np.asarray(said[:, [middle]] + np.concatenate([-falls, np.zeros_like(said[:, :1]), rises], axis=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=15)
    epochs = parser.parse_args().epochs
    random = np.random.default_rng(0)
    w, u, b = (random.normal(size=(4 * UNITS, *rest)) for rest in ((FEATURES,), (UNITS,), ()))
    for step, hidden in enumerate(lstm(random.normal(size=(STEPS, FEATURES)), w, u, b)):
        print(f"step {step}: {'  '.join(f'{unit:+.4f}' for unit in hidden)}")
    time = np.arange(120)
    rows = [{"values": (100 + time + 20 * np.sin(time / 3 + phase)).tolist()} for phase in range(6)]
    config = {"hidden": UNITS, "layers": 1, "cell": "lstm", "look_back": STEPS, "horizon": 3, "epochs": epochs}
    with connected() as client:
        made = trained(client, "forecasting", rows, config)
        served = answers(client, "forecasting", made["model"], [{"values": ASKED}])[0]["mean"]
        artifact = client.get(f"/v1/models/{made['model']}/versions/{made['version']}/artifact").raise_for_status()
    written = by_hand(artifact.content)
    for name, values in (("served", served), ("written out", written)):
        print(f"{name:12}", "  ".join(f"{value:.4f}" for value in values))
    if not np.allclose(served, written, rtol=1e-5):
        raise SystemExit("the service and the equations differ")


def by_hand(archive: bytes) -> list[float]:
    """The answer of a downloaded version, by its own weights and the equations."""
    with zipfile.ZipFile(io.BytesIO(archive)) as held:
        weights = load(held.read("weights.safetensors"))
        card = catalog.card("forecasting")
        state = card.state.model_validate_json(held.read("state.json"))
        config = card.config.model_validate(json.loads(held.read("card.json"))["config"])
    codec, params = catalog.codec("forecasting"), card.params()
    batch = codec.collate([codec.example(card.parse_item({"values": ASKED}), params, state, config)])
    return list(codec.predict(WrittenOut(weights), batch, params, state)[0].mean)


if __name__ == "__main__":
    main()
