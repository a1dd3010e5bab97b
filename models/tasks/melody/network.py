"""The network that goes on from a melody: an encoder of what was, and heads that choose what comes, part by part.

B melodies, T steps (padded), N steps at a time, H units, S numbers of the state, P pitches and the rest, D durations,
K keys.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.batch import Batch
from models.nets.recurrent import Encoder, Start
from models.task import Function, Network, Vectors
from models.tasks.melody.pitches import HIGHEST, HIGHEST_KEY, LOWEST_KEY
from models.tasks.melody.schema import MelodyConfig, State
from models.tasks.melody.voices import KEYS, PITCHES, REST

RARE = 1e-4
"""The share that is supposed of what was never heard."""


class NoteReader(nn.Module):
    """A note as one vector: of its pitch, and of its duration."""

    def __init__(self, durations: int, width: int) -> None:
        super().__init__()
        self.pitches = nn.Embedding(PITCHES + 1, width)
        self.durations = nn.Embedding(durations + 1, width)
        self.size = width

    def forward(self, pitch: Tensor, duration: Tensor) -> Tensor:
        """pitch, duration (B, T) -> (B, T, F)."""
        return self.pitches(pitch) + self.durations(duration)


class ChordReader(nn.Module):
    """A chord as it is: a number for each key, and the flag of the start."""

    size = KEYS + 1

    def forward(self, roll: Tensor) -> Tensor:
        """roll (B, T, K + 1) -> the same."""
        return roll


class Duration(nn.Module):
    """Logits of a note's duration, knowing its pitch."""

    def __init__(self, hidden: int, durations: int) -> None:
        super().__init__()
        self.heard = nn.Linear(hidden, hidden)
        self.pitch = nn.Embedding(PITCHES, hidden)
        self.output = nn.Linear(hidden, durations)

    def forward(self, hidden: Tensor, pitch: Tensor) -> Tensor:
        """hidden (N, H), pitch (N,) -> (N, D)."""
        return self.output(torch.tanh(self.heard(hidden) + self.pitch(pitch)))


class NextKey(nn.Module):
    """Logits of a chord's next key, from the lowest up, knowing those told already; the last of them ends the chord.

    Any set of keys has one such order, so the chances of all chords sum to 1, as in an RNN-NADE
    (Boulanger-Lewandowski et al. 2012), in as many choices as there are notes.
    """

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        width = 2 * hidden
        self.heard, self.told = nn.Linear(hidden, width), nn.Linear(KEYS, width, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, KEYS + 1)
        below = torch.tril(torch.ones(KEYS, KEYS + 1))  # a key rules out itself and all below it
        self.register_buffer("below", below, persistent=False)

    def forward(self, hidden: Tensor, told: Tensor) -> Tensor:
        """hidden (N, H), told (N, K) -> (N, K + 1)."""
        logits = self.output(self.dropout(torch.relu(self.heard(hidden) + self.told(told))))
        return torch.where(told @ self.below > 0.5, torch.full_like(logits, -1e4), logits)


class Step(nn.Module):
    """Reads on from a state."""

    def __init__(self, reader: nn.Module, encoder: Encoder) -> None:
        super().__init__()
        self.reader, self.encoder = reader, encoder

    def forward(self, *steps: Tensor) -> tuple[Tensor, Tensor]:
        """Arrays (B, T, ...) of steps, and at last the state before them (B, S) -> hidden (B, T, H), state after."""
        return self.encoder.advance(self.reader(*steps[:-1]), steps[-1])


class Player(nn.Module):
    """Reader, encoder and heads."""

    def __init__(self, state: State, config: MelodyConfig) -> None:
        super().__init__()
        self.transpose = config.transpose
        self.melodic = state.form == "monophonic"
        self.reader = NoteReader(len(state.durations), config.embedding) if self.melodic else ChordReader()
        self.encoder = Encoder.of(config, self.reader.size)
        self.dropout = nn.Dropout(config.dropout)
        size = self.encoder.size
        if self.melodic:
            self.heads = nn.ModuleDict(
                {"pitch": nn.Linear(size, PITCHES), "duration": Duration(size, len(state.durations))}
            )
        elif state.chords == "independent":
            self.heads = nn.ModuleDict({"alone": nn.Linear(size, KEYS)})
        else:
            self.heads = nn.ModuleDict({"next": NextKey(size, config.dropout)})

    def forward(self, *arrays: Tensor) -> Tensor:
        """Arrays (B, T, ...) of steps and their lengths (B,) -> hidden (B, T, H)."""
        x = self.reader(*arrays[:-1])
        steps, _ = self.encoder(self.dropout(x) if self.melodic else x, arrays[-1])
        return self.dropout(steps)


class MelodyNetwork(Network[State, MelodyConfig]):
    """Negative log-likelihood of each step, given all before."""

    def build(self, state: State, config: MelodyConfig) -> nn.Module:
        return Player(state, config)

    def initialise(self, net: nn.Module, state: State, config: MelodyConfig, vectors: Vectors | None) -> None:
        """Each pitch begins as likely as it is on the whole; most keys are silent most of the time."""
        shares = torch.full((PITCHES,), RARE)
        shares[torch.tensor(state.pitches, dtype=torch.int64)] = torch.tensor(state.shares).clamp(RARE, 1 - RARE)
        shares[REST] = (1 - sum(state.shares)) if state.rests else RARE
        keys = shares[LOWEST_KEY : HIGHEST_KEY + 1]
        starts = {
            "pitch": lambda head: head.bias.data.copy_(shares.clamp(min=RARE).log()),
            "alone": lambda head: head.bias.data.copy_(torch.logit(keys)),
            "next": lambda head: head.output.bias.data[:KEYS].copy_(keys.log()),
        }
        for name, head in net.heads.items():
            if name in starts:
                starts[name](head)

    def names(self, state: State) -> Mapping[str, tuple[Sequence[Hashable], ...]]:
        return {
            "reader.durations.weight": ((*state.durations, "start"),),
            "heads.duration.output.weight": (state.durations,),
            "heads.duration.output.bias": (state.durations,),
        }

    def loss(self, net: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        lengths = batch.arrays["lengths"]
        steps = {name: array for name, array in batch.arrays.items() if name != "lengths"}
        if net.training and net.transpose:
            steps = transposed(steps, lengths, net.transpose)
        hidden = net(*(array[:, :-1] for array in steps.values()), lengths)
        real = torch.arange(hidden.shape[1], device=lengths.device) < lengths[:, None]
        said = {name: array[:, 1:][real] for name, array in steps.items()}
        return _said(net.heads, hidden[real], said), int(lengths.sum())

    def functions(self, net: nn.Module) -> dict[str, Function]:
        size = net.encoder.size
        steps: dict[str, tuple[str | int, ...]] = (
            {"pitch": ("B", "T"), "duration": ("B", "T")} if net.melodic else {"roll": ("B", "T", KEYS + 1)}
        )
        after = {"hidden": ("B", "T", size), "after": ("B", net.encoder.state_size)}
        told: dict[str, dict[str, tuple[str | int, ...]]] = {
            "duration": {"pitch": ("N",)},
            "next": {"told": ("N", KEYS)},
        }
        found = {
            "start": Function(
                module=Start(net.encoder.state_size),
                inputs={"lengths": ("B",)},
                outputs={"state": ("B", net.encoder.state_size)},
            ),
            "step": Function(
                module=Step(net.reader, net.encoder),
                inputs={**steps, "state": ("B", net.encoder.state_size)},
                outputs=after,
            ),
        }
        for name, head in net.heads.items():
            inputs = {"hidden": ("N", size), **told.get(name, {})}
            found[name] = Function(module=head, inputs=inputs, outputs={"logits": ("N", "C")})
        return found


def _said(heads: nn.ModuleDict, hidden: Tensor, said: dict[str, Tensor]) -> Tensor:
    """hidden (N, H), what was said (N, ...) -> the sum of its NLL."""
    if "pitch" in heads:
        pitches = heads["pitch"](hidden).float()
        durations = heads["duration"](hidden, said["pitch"]).float()
        return functional.cross_entropy(pitches, said["pitch"], reduction="sum") + functional.cross_entropy(
            durations, said["duration"], reduction="sum"
        )
    roll = said["roll"][:, :KEYS]
    if "alone" in heads:
        return functional.binary_cross_entropy_with_logits(heads["alone"](hidden).float(), roll, reduction="sum")
    rank, count = roll.cumsum(1), roll.sum(1)
    total = hidden.new_zeros((), dtype=torch.float32)
    for place in range(int(count.max()) + 1):
        at = count >= place
        told = roll[at] * (rank[at] <= place)
        key = (rank[at] > place).int().argmax(1).masked_fill(count[at] == place, KEYS)
        total = total + functional.cross_entropy(heads["next"](hidden[at], told).float(), key, reduction="sum")
    return total


def transposed(steps: dict[str, Tensor], lengths: Tensor, most: int) -> dict[str, Tensor]:
    """Each melody shifted by its own number of semitones, from `most` down to `most` up, within what can be played."""
    shift = torch.randint(-most, most + 1, lengths.shape, device=lengths.device)
    if "pitch" in steps:
        pitch = steps["pitch"]
        real = (torch.arange(pitch.shape[1], device=pitch.device) <= lengths[:, None]) & (pitch < REST)
        low = torch.where(real, pitch, HIGHEST).amin(1)
        high = torch.where(real, pitch, 0).amax(1)
        shift = shift.clamp(-low, HIGHEST - high)
        return {**steps, "pitch": torch.where(real, pitch + shift[:, None], pitch)}
    roll = steps["roll"]
    keys = torch.arange(KEYS, device=roll.device)
    used = roll[:, :, :KEYS].amax(1) > 0
    low = torch.where(used, keys, KEYS - 1).amin(1)
    high = torch.where(used, keys, 0).amax(1)
    shift = shift.clamp(-low, KEYS - 1 - high)
    source = (keys - shift[:, None]) % KEYS
    moved = roll[:, :, :KEYS].gather(2, source[:, None].expand(-1, roll.shape[1], -1))
    return {"roll": torch.cat([moved, roll[:, :, KEYS:]], dim=2)}


NETWORK = MelodyNetwork()
