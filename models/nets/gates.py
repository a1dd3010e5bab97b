"""What every gate of an encoder says at every step of one sequence. Knows cells, never what they read.

T time steps, F features, H hidden units of a layer. After Karpathy, Johnson and Li 2015, who looked first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.nets.cells import Cell
from models.nets.recurrent import CELLS, VECTORS, Encoder

Named = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class LayerGates:
    """One layer in one direction; every array (T, H), in the order of the sequence's steps."""

    layer: int
    direction: Literal["forward", "backward"]
    cell: str
    gates: dict[str, np.ndarray]
    """By name, in the order the cell computes them. lstm, peephole, coupled, slstm: input, forget, cell,
    output; gru: reset, update, new; rnn has no gate. All but cell and new lie from 0 to 1; slstm's input and
    forget are the shares of the memory that are new and kept, i / n and f n(t-1) / n: they add up to 1."""
    hidden: np.ndarray
    memory: np.ndarray | None
    """What the output gate reads: c, or c / n of slstm; None for gru and rnn."""


def gates(encoder: Encoder, x: np.ndarray) -> list[LayerGates]:
    """The gates of each layer, first to last, forward before backward, for one sequence x (T, F).

    Every state comes from the encoder's own cells, run step by step, in the mode of serving.
    """
    found, read = [], torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
    with torch.no_grad():
        for index, layer in enumerate(encoder.layers):
            ways = [("forward", "", False)] + [("backward", "_reverse", True)] * encoder.bidirectional
            steps = []
            for direction, suffix, turned in ways:
                one = _one_way(encoder.cell, layer, suffix)
                states = _states(encoder.cell, one, read.flip(0) if turned else read)
                named, memory = _READ[encoder.cell](one, read.flip(0) if turned else read, states)
                arrays = {name: _array(gate, turned) for name, gate in named.items()}
                steps.append(states[1:, 0].flip(0) if turned else states[1:, 0])
                found.append(
                    LayerGates(
                        layer=index,
                        direction=direction,
                        cell=encoder.cell,
                        gates=arrays,
                        hidden=_array(states[1:, 0], turned),
                        memory=None if memory is None else _array(memory, turned),
                    )
                )
            read = torch.cat(steps, dim=1)
    return found


def _array(values: Tensor, turned: bool) -> np.ndarray:
    return (values.flip(0) if turned else values).numpy()


def _one_way(cell: str, layer: nn.RNNBase | Cell, suffix: str) -> nn.RNNBase | Cell:
    """A layer that reads ahead only, with the weights of one direction."""
    one = CELLS[cell](layer.input_size, layer.hidden_size)
    weights = layer.state_dict()
    one.load_state_dict({name: weights[name + suffix] for name in one.state_dict()})
    return one.eval()


def _states(cell: str, layer: nn.RNNBase | Cell, x: Tensor) -> Tensor:
    """x (T, F) -> all state vectors before the first step and after each (T + 1, V, H)."""
    held = (torch.zeros(1, 1, layer.hidden_size),) * VECTORS[cell]
    found = [torch.cat(held)[:, 0]]
    for step in x:
        _, after = layer(step[None, None], held if len(held) > 1 else held[0])
        held = after if isinstance(after, tuple) else (after,)
        found.append(torch.cat(held)[:, 0])
    return torch.stack(found)


def _sums(layer: nn.RNNBase | Cell, x: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
    """What each gate's function is applied to, (T, H) each, from the states h before each step."""
    biases = [weight for name, weight in layer.named_parameters() if name.startswith("bias")]
    sums = x @ layer.weight_ih_l0.T + hidden @ layer.weight_hh_l0.T + sum(biases)
    return sums.split(layer.hidden_size, dim=1)


def _lstm(layer: nn.LSTM, x: Tensor, states: Tensor) -> tuple[Named, Tensor]:
    i, f, g, o = _sums(layer, x, states[:-1, 0])
    return _named(i.sigmoid(), f.sigmoid(), g, o), states[1:, 1]


def _peephole(layer: Cell, x: Tensor, states: Tensor) -> tuple[Named, Tensor]:
    (i, f, g, o), (before, after) = _sums(layer, x, states[:-1, 0]), (states[:-1, 1], states[1:, 1])
    p_i, p_f, p_o = layer.peephole_l0
    return _named((i + p_i * before).sigmoid(), (f + p_f * before).sigmoid(), g, o + p_o * after), after


def _coupled(layer: Cell, x: Tensor, states: Tensor) -> tuple[Named, Tensor]:
    f, g, o = _sums(layer, x, states[:-1, 0])
    return _named(1 - f.sigmoid(), f.sigmoid(), g, o), states[1:, 1]


def _slstm(layer: Cell, x: Tensor, states: Tensor) -> tuple[Named, Tensor]:
    i, f, g, o = _sums(layer, x, states[:-1, 0])
    (_, _, n, m), (_, c_after, n_after, m_after) = states[:-1].unbind(1), states[1:].unbind(1)
    kept = torch.where(n > 0, functional.logsigmoid(f) + m - m_after, float("-inf")).exp()
    return _named((i - m_after).exp() / n_after, kept * n / n_after, g, o), c_after / n_after


def _gru(layer: nn.GRU, x: Tensor, states: Tensor) -> tuple[Named, None]:
    hidden = states[:-1, 0]
    read = (x @ layer.weight_ih_l0.T + layer.bias_ih_l0).split(layer.hidden_size, dim=1)
    kept = (hidden @ layer.weight_hh_l0.T + layer.bias_hh_l0).split(layer.hidden_size, dim=1)
    r, z = (read[0] + kept[0]).sigmoid(), (read[1] + kept[1]).sigmoid()
    return {"reset": r, "update": z, "new": (read[2] + r * kept[2]).tanh()}, None


def _rnn(layer: nn.RNN, x: Tensor, states: Tensor) -> tuple[Named, None]:
    return {}, None


def _named(i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Named:
    return {"input": i, "forget": f, "cell": g.tanh(), "output": o.sigmoid()}


_READ: dict[str, Callable[..., tuple[Named, Tensor | None]]] = {
    "lstm": _lstm,
    "gru": _gru,
    "rnn": _rnn,
    "peephole": _peephole,
    "coupled": _coupled,
    "slstm": _slstm,
}
