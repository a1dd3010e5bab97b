"""The cells that `torch.nn` lacks, as layers of its interface. Knows one layer, never a stack or a task.

B batch, T time steps (padded), F features, H units, D directions (1 or 2), G gates of the cell.

Weights carry the names and shapes of `torch.nn`, gates stacked in the order i, f, g, o (input, forget,
cell, output); where one bias says all, there is one. Each time loop is written once, over both directions
together: eager while learning and serving by torch, and scripted when exported, where it becomes an ONNX Loop.
"""

from __future__ import annotations

import functools
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

States = tuple[Tensor, ...]
"""The state vectors of a layer, each (D, B, H), hidden first."""


class Cell(nn.Module):
    """One layer in one or both directions; `gates` blocks of H rows in each weight."""

    gates = 4

    def __init__(self, input_size: int, hidden_size: int, *, bidirectional: bool = False) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bidirectional = input_size, hidden_size, bidirectional
        self.suffixes = ("_l0", "_l0_reverse") if bidirectional else ("_l0",)
        rows = self.gates * hidden_size
        for suffix in self.suffixes:
            for name, shape in {
                "weight_ih": (rows, input_size),
                "weight_hh": (rows, hidden_size),
                "bias": (rows,),
            }.items():
                self.register_parameter(name + suffix, nn.Parameter(torch.empty(shape)))

    def held(self, name: str) -> list[Tensor]:
        """A parameter of each direction."""
        return [getattr(self, name + suffix) for suffix in self.suffixes]


class Coupled(Cell):
    """The LSTM whose input gate is tied to its forget gate, i = 1 - f (Greff et al. 2017, CIFG).

    1 - sigmoid(f) = sigmoid(-f): it is an LSTM whose input gate has the forget gate's weights with the
    other sign, and runs and exports as one. Gates in the order f, g, o.
    """

    gates = 3

    def forward(self, x: Tensor | PackedSequence, hx: States | None = None) -> tuple[Tensor | PackedSequence, States]:
        """As `nn.LSTM` with `batch_first`: x (B, T, F) or packed -> every step (B, T, D*H), (h, c)."""
        packed = isinstance(x, PackedSequence)
        data = x.data if packed else x
        if hx is None:
            size = x.batch_sizes[0] if packed else x.shape[0]
            hx = (torch.zeros(len(self.suffixes), size, self.hidden_size, dtype=data.dtype, device=data.device),) * 2
        options = (True, 1, 0.0, self.training, self.bidirectional)
        if packed:
            steps, *states = torch.lstm(data, x.batch_sizes, hx, self._four_gates(), *options)
            steps = PackedSequence(steps, x.batch_sizes, x.sorted_indices, x.unsorted_indices)
        else:
            steps, *states = torch.lstm(data, hx, self._four_gates(), *options, True)
        return steps, tuple(states)

    def _four_gates(self) -> list[Tensor]:
        """Weights and biases as `torch.lstm` takes them: i, f, g, o with i = -f."""
        flat = []
        for parts in zip(self.held("weight_ih"), self.held("weight_hh"), self.held("bias"), strict=True):
            w, u, b = (torch.cat([-part[: self.hidden_size], part]) for part in parts)
            flat += [w, u, b, torch.zeros_like(b)]
        return flat


class Loop(Cell, ABC):
    """A cell whose steps are written out here; what goes in is projected for all steps at once."""

    vectors = 2
    """State vectors of the cell."""

    def forward(self, x: Tensor, hx: States | None = None, lengths: Tensor | None = None) -> tuple[Tensor, States]:
        """x (B, T, F) -> every step (B, T, D*H), states after T steps. With `lengths` (B,), steps past the
        end are zero and the way back begins at each end; the states are then those of padded steps, unless
        all lengths are T."""
        ways = [x]
        if self.bidirectional:
            back = x.flip(1) if lengths is None else _reversed(x, lengths)
            ways.append(back)
        weights = zip(ways, self.held("weight_ih"), self.held("bias"), strict=True)
        projected = torch.stack([functional.linear(way, w, b) for way, w, b in weights])
        if hx is None:
            start = torch.zeros(len(ways), x.shape[0], self.hidden_size, dtype=x.dtype, device=x.device)
            hx = (start,) * self.vectors
        recurrent = torch.stack(self.held("weight_hh")).transpose(1, 2)
        steps, states = self._loop(projected.permute(2, 0, 1, 3).contiguous(), recurrent, list(hx))
        ahead = steps[:, 0].transpose(0, 1)
        if self.bidirectional:
            back = steps[:, 1].transpose(0, 1)
            ahead = torch.cat([ahead, back.flip(1) if lengths is None else _reversed(back, lengths)], dim=2)
        if lengths is not None:
            ahead = ahead.masked_fill(_past(x, lengths)[:, :, None], 0.0)
        return ahead, tuple(states)

    @abstractmethod
    def _loop(self, z: Tensor, u: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """z (T, D, B, G*H) projected inputs, u (D, H, G*H), states of (D, B, H) -> h at every step (T, D, B, H),
        the last states."""


class Peephole(Loop):
    """The LSTM whose gates see the memory (Gers and Schmidhuber 2000): input and forget gate that of the
    step before, the output gate that of this step. `peephole` (3, H): i, f, o."""

    def __init__(self, input_size: int, hidden_size: int, *, bidirectional: bool = False) -> None:
        super().__init__(input_size, hidden_size, bidirectional=bidirectional)
        for suffix in self.suffixes:
            self.register_parameter("peephole" + suffix, nn.Parameter(torch.zeros(3, hidden_size)))

    def _loop(self, z: Tensor, u: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        return _runnable(peephole)(z, u, torch.stack(self.held("peephole"))[:, :, None], states)


class Slstm(Loop):
    """Exponential input gate, a normaliser and a stabiliser (Beck et al. 2024, xLSTM, equations 8 to 17), with
    one head, the forget gate a sigmoid, as in the authors' code.

    States h, c, n, m. The normaliser n is 0 only before the first step (after it, n >= 1), and where it is 0
    the stabiliser m is not read: all zeros mean the start.
    """

    vectors = 4

    def _loop(self, z: Tensor, u: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        return _runnable(slstm)(z, u, states)


def peephole(z: Tensor, u: Tensor, p: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """i, f = sigmoid(z + h u + p c), c = f*c + i*tanh(g), o = sigmoid(z + h u + p c), h = o*tanh(c)."""
    h, c = states
    p_i, p_f, p_o = p.unbind(1)
    steps: list[Tensor] = []
    for t in range(z.shape[0]):
        i, f, g, o = torch.baddbmm(z[t], h, u).chunk(4, -1)
        c = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
        h = torch.sigmoid(o + p_o * c) * torch.tanh(c)
        steps.append(h)
    return torch.stack(steps), [h, c]


def slstm(z: Tensor, u: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """i = exp(i~), f = sigmoid(f~), c = f*c + i*tanh(g), n = f*n + i, h = sigmoid(o) * c / n, with c and n
    held divided by exp(m), m = max(log f + m, i~). h does not depend on m, so no gradient flows through it."""
    h, c, n, m = states
    m = torch.where(n > 0, m, torch.full_like(m, float("-inf")))
    steps: list[Tensor] = []
    for t in range(z.shape[0]):
        i, f, g, o = torch.baddbmm(z[t], h, u).chunk(4, -1)
        kept = functional.logsigmoid(f) + m
        m = torch.maximum(kept, i).detach()
        keep, enter = torch.exp(kept - m), torch.exp(i - m)
        c = keep * c + enter * torch.tanh(g)
        n = keep * n + enter
        h = torch.sigmoid(o) * c / n
        steps.append(h)
    return torch.stack(steps), [h, c, n, m]


def _runnable(loop: Callable) -> Callable:
    """The loop itself; scripted while the exporter traces, which would else write out the steps of one length."""
    return _scripted(loop) if torch.jit.is_tracing() else loop


@functools.cache
def _scripted(loop: Callable) -> Callable:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # as old as the exporter that reads it
        return torch.jit.script(loop)


def _past(x: Tensor, lengths: Tensor) -> Tensor:
    """x (B, T, ...), lengths (B,) -> whether a step lies past its end (B, T)."""
    return torch.arange(x.shape[1], device=x.device) >= lengths[:, None]


def _reversed(x: Tensor, lengths: Tensor) -> Tensor:
    """x (B, T, F) with the steps of each row turned round within its length; the padding stays."""
    steps = torch.arange(x.shape[1], device=x.device).expand(x.shape[0], -1)
    index = torch.where(_past(x, lengths), steps, lengths[:, None] - 1 - steps)
    return x.gather(1, index[:, :, None].expand(-1, -1, x.shape[2]))
