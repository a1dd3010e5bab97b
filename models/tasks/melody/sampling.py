"""Chooses among outcomes by chance: temperature, top-k, top-p. Knows numbers, no music.

N choices at a time, C outcomes of each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Sampler:
    """One stream of chance for each melody, which depends on the melody's own seed alone."""

    def __init__(
        self, seeds: Sequence[int], *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
    ) -> None:
        self._streams = [np.random.default_rng(seed) for seed in seeds]
        self._temperature, self._top_k, self._top_p = temperature, top_k, top_p

    def choose(self, logits: np.ndarray, who: np.ndarray | None = None) -> np.ndarray:
        """logits (N, ..., C) for the melodies `who` (N,), by default all -> the index of an outcome each, (N, ...)."""
        whose = range(len(logits)) if who is None else who.tolist()
        shape = logits.shape[1:-1]
        draws = np.array([self._streams[index].random(shape) for index in whose]).reshape(-1)
        flat = logits.reshape(-1, logits.shape[-1])
        return chosen(flat, draws, self._temperature, self._top_k, self._top_p).reshape(logits.shape[:-1])


def chosen(
    logits: np.ndarray, draws: np.ndarray, temperature: float, top_k: int | None = None, top_p: float | None = None
) -> np.ndarray:
    """logits (N, C), draws (N,) uniform in [0, 1) -> outcomes (N,), where each draw falls in the cumulated
    probabilities of those that temperature, then top-k, then top-p (Holtzman et al. 2020) leave, likeliest first."""
    if temperature == 0:
        likeliest: np.ndarray = logits.argmax(axis=1)
        return likeliest
    order = np.argsort(-logits, axis=1, kind="stable")[:, :top_k]
    scaled = np.take_along_axis(logits.astype(np.float64), order, axis=1) / temperature
    shares = np.exp(scaled - scaled[:, :1])
    shares /= shares.sum(axis=1, keepdims=True)
    if top_p is not None:
        before = np.cumsum(shares, axis=1) - shares
        shares[before >= top_p] = 0.0  # the first is always kept: nothing lies before it
    reached = np.cumsum(shares, axis=1)
    place = (reached <= draws[:, None] * reached[:, -1:]).sum(axis=1)
    found: np.ndarray = np.take_along_axis(order, place[:, None], axis=1)[:, 0]
    return found


def surprise(logits: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
    """logits (N, C), outcomes (N,) -> the negative log-likelihood of each, in nats (N,)."""
    wide = logits.astype(np.float64)
    greatest = wide.max(axis=1)
    total = np.log(np.exp(wide - greatest[:, None]).sum(axis=1)) + greatest
    found: np.ndarray = total - np.take_along_axis(wide, outcomes[:, None], axis=1)[:, 0]
    return found
