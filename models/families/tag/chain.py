"""A linear chain of labels: its likeliest path and its probabilities, exactly. NumPy only; knows no label's meaning.

B chains, T steps (padded), C labels. A path y of a chain scores the sum of scores[t, y_t] over its steps and of
transitions[y_t-1, y_t] between them; its probability is the exponential of that over the sum of those of all
paths (Lafferty et al. 2001). Scores of the start and the end belong to the first and the last step's scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np


class Chain:
    """Chains of one batch, by dynamic programming over all of them at once."""

    def __init__(self, scores: np.ndarray, transitions: np.ndarray, lengths: np.ndarray) -> None:
        """scores (B, T, C), transitions (C, C) from row to column, lengths (B,) from 1 to T."""
        self.scores = scores.astype(np.float64)
        self.transitions = transitions.astype(np.float64)
        self.lengths = lengths

    def best(self) -> list[np.ndarray]:
        """The path of the greatest score of each chain (Viterbi 1967), (length,) each; of equal paths the one
        that ends with lower labels."""
        total, (_, steps, labels) = self.scores[:, 0], self.scores.shape
        came = np.tile(np.arange(labels), (len(total), steps, 1))  # past the end a path stays where it is
        for t in range(1, steps):
            reached = total[:, :, None] + self.transitions
            within = (t < self.lengths)[:, None]
            came[:, t] = np.where(within, reached.argmax(axis=1), came[:, t])
            total = np.where(within, reached.max(axis=1) + self.scores[:, t], total)
        path, paths = total.argmax(axis=1), np.empty(self.scores.shape[:2], dtype=np.int64)
        for t in range(steps - 1, -1, -1):
            paths[:, t] = path
            path = np.take_along_axis(came[:, t], path[:, None], axis=1)[:, 0]
        return [found[:length] for found, length in zip(paths, self.lengths, strict=True)]

    @cached_property
    def before(self) -> np.ndarray:
        """(B, T, C): log of the sum over all ways to come to a label at a step, its own score included."""
        alpha = np.empty_like(self.scores)
        alpha[:, 0] = self.scores[:, 0]
        for t in range(1, alpha.shape[1]):
            alpha[:, t] = self.scores[:, t] + summed(alpha[:, t - 1, :, None] + self.transitions, axis=1)
        return alpha

    @cached_property
    def after(self) -> np.ndarray:
        """(B, T, C): log of the sum over all ways to go on from a label at a step, its own score left out."""
        beta = np.zeros_like(self.scores)
        for t in range(beta.shape[1] - 2, -1, -1):
            further = summed(self.transitions + (self.scores[:, t + 1] + beta[:, t + 1])[:, None, :], axis=2)
            beta[:, t] = np.where((t + 1 < self.lengths)[:, None], further, 0.0)
        return beta

    @cached_property
    def total(self) -> np.ndarray:
        """(B,): log of the sum over all paths."""
        return summed(self.before[np.arange(len(self.lengths)), self.lengths - 1], axis=1)

    def marginals(self) -> np.ndarray:
        """(B, T, C): the probability of each label at each step; of no meaning past the end."""
        found: np.ndarray = np.exp(np.minimum(0.0, self.before + self.after - self.total[:, None, None]))
        return found

    def stretches(
        self, first: Sequence[int], on: Sequence[int], least: float
    ) -> Iterator[tuple[int, int, int, int, float]]:
        """Every stretch of a label first[k], then of on[k] alone and for as long as it goes on, that at least so
        many of all paths have: chain, start, end, k, and what these weigh together. Shorter ones come first."""
        last, goes_on = np.array(first, dtype=np.int64), np.array(on, dtype=np.int64)
        within = np.arange(self.scores.shape[1]) < self.lengths[:, None]
        alive, total = self.before[:, :, last], self.total[:, None, None]
        """(B, starts, K): log of the weight of all paths with the labels so far, up to where they end."""
        reached = np.exp(np.minimum(0.0, alive + self.after[:, :, last] - total)) * within[:, :, None]
        for length in range(1, self.scores.shape[1] + 1):
            if not (reached >= least).any():
                return
            alive = alive[:, :-1] + self.transitions[last, goes_on] + self.scores[:, length:, goes_on]
            further = (
                np.exp(np.minimum(0.0, alive + self.after[:, length:, goes_on] - total)) * within[:, length:, None]
            )
            ends = reached - np.pad(further, ((0, 0), (0, 1), (0, 0)))
            for chain, start, k in np.argwhere(ends >= least).tolist():
                yield chain, start, start + length, k, float(ends[chain, start, k])
            reached, last = further, goes_on

    def probability(self, chain: int, start: int, labels: Sequence[int], *, then: np.ndarray | None = None) -> float:
        """Of all paths of a chain, those with these labels from `start` on, and after them a label that `then`
        (C,) allows, or the end: what they weigh together."""
        scores, end = self.scores[chain], start + len(labels)
        log = self.before[chain, start, labels[0]]
        for t, (one, other) in enumerate(pairwise(labels), start=start + 1):
            log += self.transitions[one, other] + scores[t, other]
        if end == self.lengths[chain] or then is None:
            log += self.after[chain, end - 1, labels[-1]]
        else:
            ahead = self.transitions[labels[-1]] + scores[end] + self.after[chain, end]
            log += summed(np.where(then, ahead, -np.inf), axis=0)
        return float(np.exp(min(0.0, log - self.total[chain])))


def summed(logs: np.ndarray, *, axis: int) -> np.ndarray:
    """The logarithm of the sum of what these are the logarithms of."""
    most = logs.max(axis=axis, keepdims=True)
    found: np.ndarray = np.squeeze(most, axis) + np.log(np.exp(logs - most).sum(axis=axis))
    return found
