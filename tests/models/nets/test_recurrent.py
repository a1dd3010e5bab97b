"""The encoder against the equations written out in NumPy, step by step, and against itself packed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.batch import pad
from models.nets.recurrent import Encoder


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lstm(x: np.ndarray, w: np.ndarray, u: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000; x (T, F) -> h (T, H).

    f, i, o = sigmoid(x W + h U + b), g = tanh(x W + h U + b), c = f*c + i*g, h = o*tanh(c).
    """
    h = c = np.zeros(u.shape[1])
    steps = []
    for step in x:
        i, f, g, o = np.split(w @ step + u @ h + b, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        steps.append(h)
    return np.array(steps)


def gru(x: np.ndarray, w: np.ndarray, u: np.ndarray, b: np.ndarray, bu: np.ndarray) -> np.ndarray:
    """Cho et al. 2014, the reset gate applied after the product, as cuDNN and torch have it."""
    h = np.zeros(u.shape[1])
    steps = []
    for step in x:
        (wr, wz, wn), (ur, uz, un) = np.split(w @ step + b, 3), np.split(u @ h + bu, 3)
        r, z = sigmoid(wr + ur), sigmoid(wz + uz)
        h = (1 - z) * np.tanh(wn + r * un) + z * h
        steps.append(h)
    return np.array(steps)


def transcribed(layer: torch.nn.LSTM | torch.nn.GRU, x: np.ndarray, suffix: str = "") -> np.ndarray:
    w, u, b, bu = (
        getattr(layer, name + suffix).detach().double().numpy()
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    )
    return lstm(x, w, u, b + bu) if isinstance(layer, torch.nn.LSTM) else gru(x, w, u, b, bu)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_every_step_equals_the_equations(cell: str) -> None:
    """Example 3 of the textbook: 10 steps, 5 features, 4 units, from a zero state."""
    torch.manual_seed(3)
    encoder = Encoder(5, [4], cell=cell).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter)
    x = np.random.default_rng(3).normal(size=(10, 5))
    steps, last = encoder(torch.tensor(x, dtype=torch.float32)[None], torch.tensor([10]))
    expected = transcribed(encoder.layers[0], x)
    np.testing.assert_allclose(steps[0].detach().numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(last[0].detach().numpy(), expected[-1], atol=1e-6)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_both_directions_and_two_widths_equal_the_equations(cell: str) -> None:
    torch.manual_seed(5)
    encoder = Encoder(3, [4, 2], cell=cell, bidirectional=True).eval()
    x = np.random.default_rng(5).normal(size=(7, 3))
    steps, last = encoder(torch.tensor(x, dtype=torch.float32)[None], torch.tensor([7]))
    expected = x
    for layer in encoder.layers:
        backward = transcribed(layer, expected[::-1], "_reverse")[::-1]
        expected = np.concatenate([transcribed(layer, expected), backward], axis=1)
    np.testing.assert_allclose(steps[0].detach().numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(last[0].detach().numpy(), np.concatenate([expected[-1, :2], expected[0, 2:]]), atol=1e-6)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_padding_and_company_change_nothing(cell: str) -> None:
    torch.manual_seed(7)
    encoder = Encoder(3, [6, 5], cell=cell, bidirectional=True).eval()
    rng = np.random.default_rng(7)
    items = [rng.normal(size=(length, 3)).astype(np.float32) for length in (4, 9, 1)]
    steps, last = encoder(torch.from_numpy(pad(items)), torch.tensor([4, 9, 1]))
    for index, item in enumerate(items):
        alone, alone_last = encoder(torch.from_numpy(item)[None], torch.tensor([len(item)]))
        torch.testing.assert_close(steps[index, : len(item)], alone[0])
        torch.testing.assert_close(last[index], alone_last[0])
        assert not steps[index, len(item) :].any()


def test_the_forget_gate_starts_open() -> None:
    layer = Encoder(2, [3]).layers[0]
    bias = layer.bias_ih_l0 + layer.bias_hh_l0
    assert bias[3:6].tolist() == [1, 1, 1]
    assert not bias[:3].any()
    assert not bias[6:].any()
