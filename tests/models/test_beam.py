"""Beam search against all sequences there are, and what it promises of ends, copies and company."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from models.beam import ALPHA, Hypothesis, Search, State, length_penalty

PADDING, UNKNOWN, END = 0, 1, 2
SIZE = 5


def table(seed: int, *, items: int = 1) -> np.ndarray:
    """Log-probabilities (items, before, next) of chains over `SIZE` ids."""
    logits = np.random.default_rng(seed).normal(size=(items, SIZE, SIZE)) * 2
    return (logits - np.log(np.exp(logits).sum(2, keepdims=True))).astype(np.float32)


def step(ids: np.ndarray, state: State, items: Mapping[str, np.ndarray]) -> tuple[np.ndarray, State, np.ndarray]:
    """The next id by the last one; the state counts steps; attention is the item's own."""
    chosen = items["table"][np.arange(len(ids))[:, None], ids]
    weights = np.broadcast_to(items["weights"][:, None], (*ids.shape, items["weights"].shape[1]))
    return chosen, {"steps": state["steps"] + 1}, weights


def search(
    chains: np.ndarray, *, beam: int, limits: Sequence[int], copyable: np.ndarray | None = None
) -> list[list[Hypothesis]]:
    count = len(chains)
    left = np.zeros((count, 3), dtype=bool) if copyable is None else copyable
    weights = np.tile(np.array([0.2, 0.5, 0.3]), (count, 1))
    items = {"table": chains, "weights": weights}
    asked = Search(beam=beam, padding=PADDING, unknown=UNKNOWN, end=END)
    return asked(step, {"steps": np.zeros((count, 1, 1))}, items, left, limits)


def score(chain: np.ndarray, ids: Sequence[int], *, ended: bool) -> float:
    path = [END, *ids, *([END] if ended else [])]
    total = sum(float(chain[a, b]) for a, b in itertools.pairwise(path))
    return total / float(length_penalty(len(path) - 1))


@pytest.mark.parametrize("seed", range(6))
def test_a_wide_beam_finds_the_best_of_all_sequences(seed: int) -> None:
    chains, limit = table(seed), 4
    real = [i for i in range(SIZE) if i not in (PADDING, UNKNOWN, END)]
    found = {}
    for length in range(1, limit + 1):
        for ids in itertools.product(real, repeat=length):
            found[ids] = score(chains[0], ids, ended=length < limit)
    best = max(found, key=lambda ids: found[ids])
    (hypotheses,) = search(chains, beam=64, limits=[limit])
    assert hypotheses[0].ids == list(best)
    assert hypotheses[0].score == pytest.approx(found[best], rel=1e-6)
    assert [h.score for h in hypotheses] == sorted((h.score for h in hypotheses), reverse=True)


def test_a_beam_of_one_takes_the_best_next_id() -> None:
    chains = table(1)
    (hypotheses,) = search(chains, beam=1, limits=[12])
    last, expected = END, list[int]()
    for _ in range(12):
        allowed = [3, 4] if not expected else [END, 3, 4]
        last = max(allowed, key=lambda i: chains[0, last, i])
        if last == END:
            break
        expected.append(last)
    assert [h.ids for h in hypotheses] == [expected]


def test_alone_or_in_company_the_same() -> None:
    chains, limits = table(2, items=7), [3, 9, 1, 5, 30, 2, 8]
    copyable = np.random.default_rng(0).random((7, 3)) < 0.4
    together = search(chains, beam=3, limits=limits, copyable=copyable)
    for i in range(7):
        assert search(chains[i : i + 1], beam=3, limits=limits[i : i + 1], copyable=copyable[i : i + 1]) == [
            together[i]
        ]


def test_it_ends_at_the_limit_whatever_the_network_says() -> None:
    chains = np.full((1, SIZE, SIZE), -20.0, dtype=np.float32)
    chains[:, :, 3] = 0.0  # says the same for ever
    for limit in (1, 2, 50):
        (hypotheses,) = search(chains, beam=2, limits=[limit])
        assert max(len(h.ids) for h in hypotheses) <= limit
        assert hypotheses[0].ids == [3] * limit


def test_an_answer_is_never_empty() -> None:
    chains = np.full((1, SIZE, SIZE), -9.0, dtype=np.float32)
    chains[:, :, END] = 0.0
    (hypotheses,) = search(chains, beam=2, limits=[5])
    assert all(h.ids for h in hypotheses)


def test_an_unknown_id_stands_for_each_position_once_the_most_attended_first() -> None:
    chains = np.full((1, SIZE, SIZE), -5.0, dtype=np.float32)
    chains[:, :, UNKNOWN] = -0.1
    (hypotheses,) = search(chains, beam=1, limits=[6], copyable=np.array([[True, True, False]]))
    assert hypotheses[0].ids[:2] == [UNKNOWN, UNKNOWN]
    assert hypotheses[0].copied == [1, 0]
    assert hypotheses[0].ids.count(UNKNOWN) == 2
    assert search(chains, beam=2, limits=[6])[0][0].ids.count(UNKNOWN) == 0


def test_what_must_be_copied_is_before_the_end() -> None:
    chains = np.full((1, SIZE, SIZE), -8.0, dtype=np.float32)
    chains[:, END, 3] = chains[:, 3, 4] = chains[:, 4, END] = chains[:, UNKNOWN, END] = -0.1
    (hypotheses,) = search(chains, beam=3, limits=[8], copyable=np.array([[False, False, True]]))
    assert (hypotheses[0].ids, hypotheses[0].copied) == ([3, 4, UNKNOWN], [2])


def test_longer_sequences_are_judged_by_their_length() -> None:
    assert float(length_penalty(1)) == 1.0
    assert float(length_penalty(7)) == pytest.approx(2.0**ALPHA)
