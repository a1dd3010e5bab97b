"""The recurrent encoder every task reads with. Knows steps and units, never what they stand for.

B batch, T time steps (padded), F features, H hidden units of a layer, D directions (1 or 2), S state.

Cells: those of Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000 (``lstm``), of
Cho et al. 2014 (``gru``) and of Elman 1990 (``rnn``), in the form and gate order of `torch.nn`; and
``peephole``, ``coupled`` and ``slstm`` of `models.nets.cells`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.nets.cells import Cell, Coupled, Loop, Peephole, Slstm
from models.task import Config

CELLS: dict[str, Callable[..., nn.RNNBase | Cell]] = {
    "lstm": functools.partial(nn.LSTM, batch_first=True),
    "gru": functools.partial(nn.GRU, batch_first=True),
    "rnn": functools.partial(nn.RNN, batch_first=True),
    "peephole": Peephole,
    "coupled": Coupled,
    "slstm": Slstm,
}
VECTORS = {"lstm": 2, "gru": 1, "rnn": 1, "peephole": 2, "coupled": 2, "slstm": 4}
"""State vectors of a cell: h, and for those with a memory c, and for slstm n and m."""
GATES = {"lstm": 4, "gru": 3, "rnn": 1, "peephole": 4, "coupled": 3, "slstm": 4}
FORGETS = {"lstm": 1, "peephole": 1, "coupled": 0, "slstm": 1}
"""Which of a cell's gates is the forget gate."""


class Encoder(nn.Module):
    """Layers of one recurrent cell, each with its own width.

    Padding never reaches the state: sequences of unequal length are packed. Sequences of one length
    need no packing and run 2-3 times faster on a CPU, with the same answer.
    """

    def __init__(
        self,
        features: int,
        widths: Sequence[int],
        *,
        cell: str = "lstm",
        bidirectional: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        directions = 2 if bidirectional else 1
        inputs = [features, *(width * directions for width in widths[:-1])]
        self.cell, self.bidirectional = cell, bidirectional
        self.layers = nn.ModuleList(
            CELLS[cell](size, width, bidirectional=bidirectional) for size, width in zip(inputs, widths, strict=True)
        )
        self.dropout = nn.Dropout(dropout)
        self.width = widths[-1]
        self.size = widths[-1] * directions
        """D * H of the last layer: the width of what `forward` returns."""
        self.state_sizes = [VECTORS[cell] * width for width in widths]
        self.state_size = sum(self.state_sizes)
        """S: the width of the flat state that `advance` takes and gives."""
        for layer in self.layers:
            start_cell(layer, cell)

    @classmethod
    def of(cls, config: Config, features: int) -> Encoder:
        """The encoder that the options of a training ask for."""
        return cls(
            features,
            config.widths,
            cell=config.cell,
            bidirectional=config.bidirectional,
            dropout=config.dropout,
        )

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, T, F), lengths (B,) from 1 to T -> every step (B, T, D*H), zero past the end, and the
        last state read in each direction (B, D*H)."""
        tracing = torch.jit.is_tracing() or torch.onnx.is_in_onnx_export()
        packed = tracing or not bool((lengths == x.shape[1]).all())
        steps = (self._packed if packed else self._dense)(x, lengths)
        ends = (lengths - 1)[:, None, None].expand(-1, 1, self.width)
        last = steps[:, :, : self.width].gather(1, ends).squeeze(1)
        if self.size > self.width:
            last = torch.cat([last, steps[:, 0, self.width :]], dim=1)
        return steps, last

    def advance(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Go on from a state: x (B, T, F), every step real, state (B, S) -> steps (B, T, H), state (B, S).

        The same steps as `forward` over all that was read since the start, which is a state of zeros.
        The state is flat: the layers in order, first to last, and of each layer its vectors in the order
        h, c, n, m, as many as its cell has (`VECTORS`). Raises ValueError where a layer reads backwards.
        """
        if self.bidirectional:
            raise ValueError("a bidirectional encoder needs the whole sequence at once and cannot go on from a state")
        after = []
        for index, (layer, part) in enumerate(zip(self.layers, state.split(self.state_sizes, 1), strict=True)):
            held = tuple(vector[None].contiguous() for vector in part.split(layer.hidden_size, 1))
            x, states = layer(self.dropout(x) if index else x, held if len(held) > 1 else held[0])
            after += [vector[0] for vector in (states if isinstance(states, tuple) else (states,))]
        return x, torch.cat(after, dim=1)

    def _dense(self, x: Tensor, lengths: Tensor) -> Tensor:
        for index, layer in enumerate(self.layers):
            x, _ = layer(self.dropout(x) if index else x)
        return x

    def _packed(self, x: Tensor, lengths: Tensor) -> Tensor:
        total, ends = x.shape[1], lengths.cpu()
        for index, layer in enumerate(self.layers):
            inputs = self.dropout(x) if index else x
            if isinstance(layer, Loop):
                x, _ = layer(inputs, lengths=lengths)
                continue
            steps, _ = layer(pack_padded_sequence(inputs, ends, batch_first=True, enforce_sorted=False))
            x, _ = pad_packed_sequence(steps, batch_first=True, total_length=total)
        return x


class Start(nn.Module):
    """The state before the first step."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, lengths: Tensor) -> Tensor:
        """lengths (B,) -> zeros (B, S)."""
        return torch.zeros(1, self.size, device=lengths.device).expand(lengths.shape[0], self.size)


def start_cell(layer: nn.RNNBase | Cell, cell: str) -> None:
    """Orthogonal recurrent weights (Saxe et al. 2014), Glorot inputs, and an open forget gate
    (Jozefowicz et al. 2015): what is worth remembering is remembered from the first step."""
    for name, weight in layer.named_parameters():
        if "weight_hh" in name:
            for gate in weight.chunk(GATES[cell]):
                nn.init.orthogonal_(gate)
        elif "weight_ih" in name:
            nn.init.xavier_uniform_(weight)
        else:
            nn.init.zeros_(weight)
            if cell in FORGETS and name.startswith("bias") and "bias_hh" not in name:
                nn.init.ones_(weight.data.chunk(GATES[cell])[FORGETS[cell]])
