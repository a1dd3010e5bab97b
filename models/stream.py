"""What a task needs beside its codec where a sequence arrives step by step. Knows arrays and states, no torch.

A *memory* is all that the steps so far leave behind for those to come, as arrays by name; empty, nothing has come yet.
It is never changed: each call makes a new one, so that a fork may go on from the same.

B sequences, T_i steps of one of them, S numbers of a network's state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic

import numpy as np

from models.batch import Example
from models.runtimes.run import Run
from models.task import ConfigT, Params, ParamsT, Schema, StateT

STRETCH = 16_384
"""Steps of all sequences of a batch that one call of a function reads at most: bounds memory."""

Memory = Mapping[str, np.ndarray]
Answer = tuple[list[Any], Memory]
"""The output of each step (None where there is none yet), and what is left behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Some further steps of one sequence, as `Card.stream` describes them."""

    steps: Sequence[Any]
    memory: Memory
    """What the steps before them left behind."""
    item: Any
    """What the sequence says beside its steps."""
    params: Any


class Stream(ABC, Generic[StateT, ParamsT, ConfigT]):
    """Answers the steps of a sequence as they come. NumPy only; keeps nothing between calls.

    The answers are those that the whole sequence up to each step would get, within 1e-5.
    """

    functions: ClassVar[tuple[str, ...]] = ()
    """Functions of the network that it calls and the codec does not: versions older than they lack them."""

    def refusal(self, state: StateT, config: ConfigT) -> str | None:
        """Why a version with these options cannot answer step by step, in a sentence; None where it can."""
        return "it reads in both directions, and so needs the whole sequence at once" if config.bidirectional else None

    def check(self, params: ParamsT, state: StateT) -> None:
        """Raises `models.task.Fault` where the options do not fit this version."""

    @abstractmethod
    def example(self, sent: Sent, state: StateT, config: ConfigT) -> Example:
        """The one example of some further steps, which carries their memory.

        Raises `Fault` at the index of a step that cannot be used."""

    @abstractmethod
    def advance(self, run: Run, examples: Sequence[Example], params: ParamsT, state: StateT) -> list[Answer]:
        """For each example the outputs of its steps, and the memory after them; alone or in company, the same."""

    def rehearse(self, run: Run, examples: Sequence[Example], state: StateT, config: ConfigT) -> None:
        """Ask the network's `functions` what they are asked when it serves, of examples of the codec."""


AnyStream = Stream[Any, Any, Any]


def read_on(
    run: Run, function: str, sequences: Sequence[Mapping[str, np.ndarray]], memories: Sequence[Memory]
) -> tuple[list[dict[str, np.ndarray]], np.ndarray]:
    """Read some sequences on, each from the `state` of its memory, or from the network's `start`.

    Sequences are arrays (T_i, ...) by name, T_i from 1; the function takes them (B, T, ...) with `state` (B, S) and
    gives arrays (B, T, ...) and `after` (B, S). Returns those of each sequence, (T_i, ...), and the states, (B, S).
    A state knows no padding: sequences of unequal length are read together up to the end of the shortest, then the
    others go on.
    """
    lengths = np.array([len(next(iter(arrays.values()))) for arrays in sequences], dtype=np.int64)
    states = _states(run, memories)
    parts: list[list[dict[str, np.ndarray]]] = [[] for _ in sequences]
    going, at = np.arange(len(sequences)), 0
    while len(going):
        until = min(int(lengths[going].min()), at + max(1, STRETCH // len(going)))
        read = {name: np.stack([sequences[i][name][at:until] for i in going.tolist()]) for name in sequences[0]}
        told = run(function, {**read, "state": states[going]})
        states[going] = told["after"]
        for place, index in enumerate(going.tolist()):
            parts[index].append({name: array[place] for name, array in told.items() if name != "after"})
        at, going = until, going[lengths[going] > until]
    return [{name: np.concatenate([part[name] for part in each]) for name in each[0]} for each in parts], states


def _states(run: Run, memories: Sequence[Memory]) -> np.ndarray:
    """(B, S)"""
    fresh = [index for index, memory in enumerate(memories) if "state" not in memory]
    found = [memory.get("state") for memory in memories]
    if fresh:
        started = run("start", {"lengths": np.ones(len(fresh), dtype=np.int64)})["state"]
        for index, state in zip(fresh, started, strict=True):
            found[index] = state
    return np.stack([state for state in found if state is not None])


@dataclass(frozen=True, slots=True)
class Packed:
    """A memory at rest: its numbers in one piece of bytes, and what they are in a layout that others may share."""

    layout: tuple[tuple[str, str, tuple[int, ...]], ...] = ()
    data: bytes = b""

    @classmethod
    def of(cls, memory: Memory, known: dict[Any, Any]) -> Packed:
        """`known` holds the layouts met so far: sessions alike share theirs."""
        layout = tuple((name, array.dtype.str, array.shape) for name, array in memory.items())
        return cls(known.setdefault(layout, layout), b"".join(array.tobytes() for array in memory.values()))

    def memory(self) -> Memory:
        """The arrays, which cannot be written to."""
        found, at = {}, 0
        for name, dtype, shape in self.layout:
            count = int(np.prod(shape))
            found[name] = np.frombuffer(self.data, dtype=dtype, count=count, offset=at).reshape(shape)
            at += found[name].nbytes
        return found


class Stepper:
    """A version as the batcher sees it where sequences arrive step by step."""

    def __init__(self, stream: AnyStream, state: Schema, config: Any, run: Run) -> None:
        self.stream, self.state, self.config, self.run = stream, state, config, run

    def check(self, params: Params) -> None:
        """Raises `models.task.Fault` where options do not fit this version."""
        self.stream.check(params, self.state)

    def prepare(self, sent: Sent) -> Example:
        """What the network will read of some further steps. Raises `models.task.Fault`."""
        return self.stream.example(sent, self.state, self.config)

    def answer(self, examples: Sequence[Example], params: Params) -> list[Answer]:
        """The outputs of each example's steps, and the memory after them."""
        return self.stream.advance(self.run, examples, params, self.state)
