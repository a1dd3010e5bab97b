"""Each cell's equations, transcribed from the papers in NumPy, one step after another. Knows no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Weights = Mapping[str, np.ndarray]
"""Of one direction: w (G*H, F), u (G*H, H), b (G*H,), and what else a cell has."""


@dataclass
class Written:
    """What the equations give for one sequence, (T, H) each."""

    hidden: np.ndarray
    memory: np.ndarray | None
    gates: dict[str, np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _written(hidden: list[np.ndarray], memory: list[np.ndarray], gates: dict[str, list[np.ndarray]]) -> Written:
    stacked = {name: np.array(steps) for name, steps in gates.items()}
    return Written(np.array(hidden), np.array(memory) if memory else None, stacked)


def lstm(x: np.ndarray, weights: Weights) -> Written:
    """Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000; x (T, F).

    f, i, o = sigmoid(x W + h U + b), g = tanh(x W + h U + b), c = f*c + i*g, h = o*tanh(c).
    """
    h = c = np.zeros(weights["u"].shape[1])
    hs, cs, gates = [], [], {"input": [], "forget": [], "cell": [], "output": []}
    for step in x:
        i, f, g, o = np.split(weights["w"] @ step + weights["u"] @ h + weights["b"], 4)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c = f * c + i * g
        h = o * np.tanh(c)
        hs.append(h)
        cs.append(c)
        for name, gate in zip(gates, (i, f, g, o), strict=True):
            gates[name].append(gate)
    return _written(hs, cs, gates)


def gru(x: np.ndarray, weights: Weights) -> Written:
    """Cho et al. 2014, the reset gate applied after the product, as cuDNN and torch have it."""
    h = np.zeros(weights["u"].shape[1])
    hs, gates = [], {"reset": [], "update": [], "new": []}
    for step in x:
        wr, wz, wn = np.split(weights["w"] @ step + weights["b"], 3)
        ur, uz, un = np.split(weights["u"] @ h + weights["bu"], 3)
        r, z = sigmoid(wr + ur), sigmoid(wz + uz)
        n = np.tanh(wn + r * un)
        h = (1 - z) * n + z * h
        hs.append(h)
        for name, gate in zip(gates, (r, z, n), strict=True):
            gates[name].append(gate)
    return _written(hs, [], gates)


def rnn(x: np.ndarray, weights: Weights) -> Written:
    """Elman 1990: h = tanh(x W + h U + b)."""
    h = np.zeros(weights["u"].shape[1])
    hs = []
    for step in x:
        h = np.tanh(weights["w"] @ step + weights["u"] @ h + weights["b"])
        hs.append(h)
    return _written(hs, [], {})


def peephole(x: np.ndarray, weights: Weights) -> Written:
    """Gers and Schmidhuber 2000: the input and forget gate see c(t-1), the output gate sees c(t)."""
    h = c = np.zeros(weights["u"].shape[1])
    p_i, p_f, p_o = weights["p"]
    hs, cs, gates = [], [], {"input": [], "forget": [], "cell": [], "output": []}
    for step in x:
        i, f, g, o = np.split(weights["w"] @ step + weights["u"] @ h + weights["b"], 4)
        i, f, g = sigmoid(i + p_i * c), sigmoid(f + p_f * c), np.tanh(g)
        c = f * c + i * g
        o = sigmoid(o + p_o * c)
        h = o * np.tanh(c)
        hs.append(h)
        cs.append(c)
        for name, gate in zip(gates, (i, f, g, o), strict=True):
            gates[name].append(gate)
    return _written(hs, cs, gates)


def coupled(x: np.ndarray, weights: Weights) -> Written:
    """Greff et al. 2017, CIFG: i = 1 - f."""
    h = c = np.zeros(weights["u"].shape[1])
    hs, cs, gates = [], [], {"input": [], "forget": [], "cell": [], "output": []}
    for step in x:
        f, g, o = np.split(weights["w"] @ step + weights["u"] @ h + weights["b"], 3)
        f, g, o = sigmoid(f), np.tanh(g), sigmoid(o)
        c = f * c + (1 - f) * g
        h = o * np.tanh(c)
        hs.append(h)
        cs.append(c)
        for name, gate in zip(gates, (1 - f, f, g, o), strict=True):
            gates[name].append(gate)
    return _written(hs, cs, gates)


def slstm(x: np.ndarray, weights: Weights) -> Written:
    """Beck et al. 2024, equations 8 to 14, without a stabiliser: float64 holds what these tests exponentiate.

    i = exp(i~), f = sigmoid(f~), z = tanh(z~), o = sigmoid(o~); c = f*c + i*z, n = f*n + i, h = o*c/n.
    """
    h = c = n = np.zeros(weights["u"].shape[1])
    hs, cs, gates = [], [], {"input": [], "forget": [], "cell": [], "output": []}
    for step in x:
        i, f, z, o = np.split(weights["w"] @ step + weights["u"] @ h + weights["b"], 4)
        i, f, z, o = np.exp(i), sigmoid(f), np.tanh(z), sigmoid(o)
        before = n
        c, n = f * c + i * z, f * n + i
        h = o * c / n
        hs.append(h)
        cs.append(c / n)
        for name, gate in zip(gates, (i / n, f * before / n, z, o), strict=True):
            gates[name].append(gate)
    return _written(hs, cs, gates)


WRITTEN: dict[str, Callable[[np.ndarray, Weights], Written]] = {
    "lstm": lstm,
    "gru": gru,
    "rnn": rnn,
    "peephole": peephole,
    "coupled": coupled,
    "slstm": slstm,
}
