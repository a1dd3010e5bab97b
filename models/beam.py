"""Beam search over a step function. Knows ids and scores, never what they stand for.

B items, K beams of an item, V ids, T positions of a source, L steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

ALPHA = 1.0
"""Exponent of the length penalty."""

State = dict[str, np.ndarray]
Step = Callable[[np.ndarray, State, Mapping[str, np.ndarray]], tuple[np.ndarray, State, np.ndarray]]
"""ids (B, K), the beams' state of arrays (B, K, ...) and the items' arrays (B, ...) -> log-probabilities
(B, K, V), the next state, and how much each beam attends to each position of its source (B, K, T)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """One sequence that the search ended."""

    ids: list[int]
    """Without the end."""
    copied: list[int]
    """For each unknown id among them, in order, the position of the source that it stands for."""
    score: float
    """Log-probability divided by the length penalty; at most 0."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a search is asked: its width, and the ids with a meaning of their own."""

    beam: int
    padding: int
    unknown: int
    end: int

    def __call__(
        self, step: Step, state: State, items: Mapping[str, np.ndarray], copyable: np.ndarray, limits: Sequence[int]
    ) -> list[list[Hypothesis]]:
        """The ended sequences of each item, best first, at least one: alone or in company, the same.

        `state` holds arrays (B, 1, ...) of the start, `items` arrays (B, ...) that do not change, `copyable` (B, T)
        the positions of each source that an unknown id stands for, each once, and `limits` the most ids of each.
        """
        beams = _Beams(self, state, items, copyable, np.asarray(limits))
        while len(beams.alive):
            beams.advance(step)
        return [sorted(found, key=lambda hypothesis: -hypothesis.score) for found in beams.ended]


def length_penalty(length: int | np.ndarray) -> np.ndarray:
    """((5 + length) / 6) ** alpha: eq. 14 of Wu et al. 2016. The length counts the end."""
    return np.asarray(((5 + np.asarray(length)) / 6) ** ALPHA)


@dataclass
class _Beams:
    """All that changes in a search. Items that are done leave it, so that they cost and disturb nothing."""

    asked: Search
    state: State
    items: Mapping[str, np.ndarray]
    left: np.ndarray
    """Positions that are still to be copied, at first (B, T) and then (B, K, T)."""
    limits: np.ndarray
    alive: np.ndarray = field(init=False)
    """Which of the items are still searched."""
    ended: list[list[Hypothesis]] = field(init=False)

    def __post_init__(self) -> None:
        items, beams = self.left.shape[0], self.asked.beam
        self.alive = np.arange(items)
        self.ended = [[] for _ in range(items)]
        self.state = {name: np.repeat(array, beams, axis=1) for name, array in self.state.items()}
        self.left = np.repeat(self.left[:, None], beams, axis=1)
        self.scores = np.full((items, beams), -np.inf)
        self.scores[:, 0] = 0.0  # all beams start alike: one of them is enough
        self.ids = np.full((items, beams, 1), self.asked.end)
        self.copied = np.full((items, beams, 1), -1)

    def advance(self, step: Step) -> None:
        """One id more for every beam of every item."""
        beam, rows = self.asked.beam, np.arange(len(self.alive))[:, None]
        spoken, state, attention = step(self.ids[:, :, -1], self.state, self.items)
        spoken = self._allowed(spoken)
        ids = _best(spoken, 2 * beam)  # what is among an item's best is among its beam's
        totals = self.scores[:, :, None] + np.take_along_axis(spoken, ids, 2).astype(np.float64)
        order = _best(totals.reshape(len(rows), -1), 2 * beam)
        scores, ids = totals.reshape(len(rows), -1)[rows, order], ids.reshape(len(rows), -1)[rows, order]
        beams, possible = order // totals.shape[2], np.isfinite(scores)
        ending = (ids == self.asked.end) & possible
        self._end(scores, beams, ending & (np.arange(order.shape[1]) < beam))
        # the best that go on: a stable sort moves those that end, or are impossible, behind them
        going = np.argsort(ending | ~possible, axis=1, kind="stable")[:, :beam]
        scores = np.where(ending, -np.inf, scores)[rows, going]
        self._go_on(beams[rows, going], ids[rows, going], scores, state, attention)
        self._leave()

    def _allowed(self, spoken: np.ndarray) -> np.ndarray:
        """The log-probabilities (B, K, V) without what may not be said now.

        A sequence does not end before all that can be copied was: where it would, it copies first.
        """
        spoken, waiting = spoken.copy(), self.left.any(2)
        unknown, end = spoken[:, :, self.asked.unknown], spoken[:, :, self.asked.end]
        unknown[:] = np.where(waiting, np.logaddexp(unknown, end), -np.inf)
        end[waiting] = -np.inf
        if self.ids.shape[2] == 1:
            end[:] = -np.inf  # nothing is no answer
        spoken[:, :, self.asked.padding] = -np.inf
        return spoken

    def _end(self, scores: np.ndarray, beams: np.ndarray, ending: np.ndarray) -> None:
        for item, rank in np.argwhere(ending).tolist():
            self._keep(item, int(beams[item, rank]), scores[item, rank], self.ids.shape[2])

    def _keep(self, item: int, beam: int, score: float, length: int) -> None:
        copied = self.copied[item, beam]
        self.ended[self.alive[item]].append(
            Hypothesis(
                ids=self.ids[item, beam, 1:].tolist(),
                copied=copied[copied >= 0].tolist(),
                score=float(score / length_penalty(length)),
            )
        )

    def _go_on(
        self, beams: np.ndarray, ids: np.ndarray, scores: np.ndarray, state: State, attention: np.ndarray
    ) -> None:
        rows = np.arange(len(beams))[:, None]
        self.scores = scores
        self.state = {name: array[rows, beams] for name, array in state.items()}
        self.left, attention = self.left[rows, beams], attention[rows, beams]
        source = np.where(self.left, attention, -1.0).argmax(2)
        unknown = ids == self.asked.unknown
        self.left[(*np.nonzero(unknown), source[unknown])] = False
        source = np.where(unknown, source, -1)
        self.ids = np.concatenate([self.ids[rows, beams], ids[:, :, None]], axis=2)
        self.copied = np.concatenate([self.copied[rows, beams], source[:, :, None]], axis=2)

    def _least(self, item: int) -> float:
        """The least score of an item's best ended sequences, as many as beams; minus infinity while they are fewer."""
        scores = sorted((hypothesis.score for hypothesis in self.ended[item]), reverse=True)[: self.asked.beam]
        return scores[-1] if len(scores) == self.asked.beam else -np.inf

    def _leave(self) -> None:
        """Items with as many ended sequences as beams are done, unless one that goes on is better than some of
        them, were it to end now; at its limit an item's beams end as they are."""
        length = self.ids.shape[2] - 1
        least = np.array([self._least(item) for item in self.alive.tolist()])
        full = self.scores.max(1) / length_penalty(length + 1) <= least
        late = ~full & (length >= self.limits)
        for item in np.flatnonzero(late).tolist():
            for beam in np.flatnonzero(np.isfinite(self.scores[item])).tolist():
                self._keep(item, beam, self.scores[item, beam], length)
        stay = ~(full | late)
        if stay.all():
            return
        self.alive, self.scores, self.limits = self.alive[stay], self.scores[stay], self.limits[stay]
        self.left, self.ids, self.copied = self.left[stay], self.ids[stay], self.copied[stay]
        self.state = {name: array[stay] for name, array in self.state.items()}
        self.items = {name: array[stay] for name, array in self.items.items()}


def _best(scores: np.ndarray, count: int) -> np.ndarray:
    """The indices of the greatest `count` along the last axis, greatest first, ties by index."""
    count = min(count, scores.shape[-1])
    found = np.sort(np.argpartition(scores, -count, axis=-1)[..., -count:], axis=-1)
    order = np.argsort(-np.take_along_axis(scores, found, -1), axis=-1, kind="stable")
    return np.take_along_axis(found, order, -1)
