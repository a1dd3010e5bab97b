"""What a step of music is: arrays to read it by, the choices it is made of, their likelihood. NumPy only.

A step's likelihood is a product, by the chain rule: of a note, its pitch and then, knowing that, its
duration; of a chord, its keys one after the other, or each alone. What is learnt, what is scored and what is
played are the same choices.

N steps at a time, H units, P = 129 pitches and the rest, D durations, K = 88 keys.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from models.runtimes.run import Run
from models.task import Fault
from models.tasks.melody.pitches import HIGHEST, HIGHEST_KEY, LOWEST_KEY
from models.tasks.melody.sampling import Sampler, surprise
from models.tasks.melody.schema import Item, Likely, Note, Output, State

REST = HIGHEST + 1
PITCHES = REST + 1
"""P: what may be chosen; one more, `START`, stands before the first note."""
START = PITCHES
KEYS = HIGHEST_KEY - LOWEST_KEY + 1
"""K, and the index of the flag that stands before the first chord, and of the choice that ends a chord."""

Steps = Mapping[str, np.ndarray]
"""Steps as arrays, time first (or whatever axes lie before): what the network reads, and what was chosen."""


class Voice(ABC):
    """The steps of one form of music."""

    def __init__(self, state: State) -> None:
        self.state = state

    @abstractmethod
    def read(self, item: Item) -> dict[str, np.ndarray]:
        """A melody of T steps as arrays (1 + T, ...): what stands before the first step, then the steps."""

    @abstractmethod
    def losses(self, run: Run, hidden: np.ndarray, said: Steps) -> np.ndarray:
        """hidden (N, H) before each step, and the steps (N, ...) -> the NLL of each (N,), in nats."""

    @abstractmethod
    def choose(self, run: Run, hidden: np.ndarray, sampler: Sampler) -> dict[str, np.ndarray]:
        """hidden (N, H) -> one further step each (N, ...)."""

    @abstractmethod
    def likeliest(self, run: Run, hidden: np.ndarray, most: int) -> list[list[Likely]]:
        """hidden (N, H) -> what is likeliest to come, for each; likeliest first."""

    @abstractmethod
    def written(self, played: Sequence[Steps], index: int, nll: float, seed: int) -> Output:
        """The output of melody `index`, from the steps (N, ...) chosen one after the other."""


class Notes(Voice):
    """One note at a time: `pitch`, and knowing it `duration`, as int64 ids."""

    def read(self, item: Item) -> dict[str, np.ndarray]:
        if item.notes is None:
            raise Fault("this model is monophonic: it goes on from `notes`, not from `steps`", at=("steps",))
        pitches = [START, *(REST if note.pitch is None else note.pitch for note in item.notes)]
        known = np.log(self.state.durations)
        asked = np.log([note.duration for note in item.notes])
        right = np.searchsorted(known, asked).clip(0, len(known) - 1)
        left = (right - 1).clip(0)
        nearest = np.where(asked - known[left] < known[right] - asked, left, right)
        return {"pitch": np.array(pitches, dtype=np.int64), "duration": np.array([len(known), *nearest], np.int64)}

    def losses(self, run: Run, hidden: np.ndarray, said: Steps) -> np.ndarray:
        pitches = run("pitch", {"hidden": hidden})["logits"]
        durations = run("duration", {"hidden": hidden, "pitch": said["pitch"]})["logits"]
        found: np.ndarray = surprise(pitches, said["pitch"]) + surprise(durations, said["duration"])
        return found

    def choose(self, run: Run, hidden: np.ndarray, sampler: Sampler) -> dict[str, np.ndarray]:
        logits = _only(run("pitch", {"hidden": hidden})["logits"], self._playable)
        pitch = sampler.choose(logits)
        duration = sampler.choose(run("duration", {"hidden": hidden, "pitch": pitch})["logits"])
        return {"pitch": pitch, "duration": duration}

    def likeliest(self, run: Run, hidden: np.ndarray, most: int) -> list[list[Likely]]:
        logits = _only(run("pitch", {"hidden": hidden})["logits"], self._playable)
        pitches = np.argsort(-logits, axis=1, kind="stable")[:, : min(most, len(self._playable))]
        each = np.repeat(hidden, pitches.shape[1], axis=0)
        told = run("duration", {"hidden": each, "pitch": pitches.ravel()})["logits"]
        said = {"pitch": pitches.ravel(), "duration": told.argmax(axis=1)}
        chances = np.exp(-self.losses(run, each, said)).reshape(pitches.shape)
        durations = said["duration"].reshape(pitches.shape)
        return [
            [
                Likely(
                    pitch=None if row[0][at] == REST else int(row[0][at]),
                    duration=self.state.durations[row[1][at]],
                    probability=float(row[2][at]),
                )
                for at in np.argsort(-row[2], kind="stable").tolist()
            ]
            for row in zip(pitches, durations, chances, strict=True)
        ]

    @property
    def _playable(self) -> list[int]:
        return [*self.state.pitches, REST] if self.state.rests else self.state.pitches

    def written(self, played: Sequence[Steps], index: int, nll: float, seed: int) -> Output:
        notes = []
        for step in played:
            pitch = int(step["pitch"][index])
            duration = self.state.durations[int(step["duration"][index])]
            notes.append(Note(pitch=None if pitch == REST else pitch, duration=duration))
        return Output(notes=notes, nll=nll, seed=seed)


class Chords(Voice):
    """A chord at a time: `roll`, one number for each key, and a flag for what stands before the first chord."""

    def read(self, item: Item) -> dict[str, np.ndarray]:
        if item.steps is None:
            raise Fault("this model is polyphonic: it goes on from `steps`, not from `notes`", at=("notes",))
        roll = np.zeros((1 + len(item.steps), KEYS + 1), dtype=np.float32)
        roll[0, KEYS] = 1
        for row, keys in zip(roll[1:], item.steps, strict=True):
            row[np.array(keys, dtype=np.int64) - LOWEST_KEY] = 1
        return {"roll": roll}

    def losses(self, run: Run, hidden: np.ndarray, said: Steps) -> np.ndarray:
        roll = said["roll"][:, :KEYS]
        if self.state.chords == "independent":
            logits = run("alone", {"hidden": hidden})["logits"].astype(np.float64)
            found: np.ndarray = (np.logaddexp(0, logits) - roll * logits).sum(axis=1)
            return found
        total = np.zeros(len(roll))
        rank, count = np.cumsum(roll, axis=1), roll.sum(axis=1)
        for place in range(int(count.max(initial=0)) + 1):
            at = np.flatnonzero(count >= place)
            told = roll[at] * (rank[at] <= place)
            key = np.where(count[at] == place, KEYS, (rank[at] > place).argmax(axis=1))
            total[at] += surprise(run("next", {"hidden": hidden[at], "told": told})["logits"], key)
        return total

    def choose(self, run: Run, hidden: np.ndarray, sampler: Sampler) -> dict[str, np.ndarray]:
        playable = [pitch - LOWEST_KEY for pitch in self.state.pitches]
        roll = np.zeros((len(hidden), KEYS + 1), dtype=np.float32)
        if self.state.chords == "independent":
            logits = run("alone", {"hidden": hidden})["logits"][:, playable]
            roll[:, playable] = sampler.choose(np.stack([np.zeros_like(logits), logits], axis=-1))
            return {"roll": roll}
        open_ = np.arange(len(hidden))
        while len(open_):  # ends: each key chosen lies above those before
            logits = run("next", {"hidden": hidden[open_], "told": roll[open_, :KEYS]})["logits"]
            key = sampler.choose(_only(logits, [*playable, KEYS]), open_)
            open_, key = open_[key < KEYS], key[key < KEYS]
            roll[open_, key] = 1
        return {"roll": roll}

    def likeliest(self, run: Run, hidden: np.ndarray, most: int) -> list[list[Likely]]:
        if not most:
            return [[] for _ in hidden]
        chosen = self.choose(run, hidden, Sampler([0] * len(hidden), temperature=0))
        chances = np.exp(-self.losses(run, hidden, chosen))
        keys = [(np.flatnonzero(row[:KEYS]) + LOWEST_KEY).tolist() for row in chosen["roll"]]
        return [[Likely(keys=k, probability=float(p))] for k, p in zip(keys, chances, strict=True)]

    def written(self, played: Sequence[Steps], index: int, nll: float, seed: int) -> Output:
        steps = [(np.flatnonzero(step["roll"][index, :KEYS]) + LOWEST_KEY).tolist() for step in played]
        return Output(steps=steps, step=self.state.step, nll=nll, seed=seed)


def voice(state: State) -> Voice:
    """The voice of a model."""
    return Notes(state) if state.form == "monophonic" else Chords(state)


def _only(logits: np.ndarray, outcomes: Sequence[int]) -> np.ndarray:
    """The same logits with every other outcome made impossible."""
    found = np.full_like(logits, -np.inf)
    found[:, outcomes] = logits[:, outcomes]
    return found
