"""Padding and length-bucketed batching: nothing lost, nothing doubled, little wasted."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.batch import batches, bucket, pad

lengths = st.lists(st.integers(1, 300), max_size=200)


@given(lengths, st.integers(1, 2000), st.booleans())
def test_every_example_is_in_one_batch_within_the_budget(lengths: list[int], steps: int, shuffled: bool) -> None:
    generator = np.random.default_rng(0) if shuffled else None
    cut = list(batches(lengths, steps=steps, shuffle=generator))
    assert sorted(index for batch in cut for index in batch) == list(range(len(lengths)))
    for batch in cut:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= steps


def test_batches_hold_near_equal_lengths() -> None:
    lengths = np.random.default_rng(1).integers(1, 100, size=2000).tolist()
    cut = list(batches(lengths, steps=2048, shuffle=np.random.default_rng(2)))
    padded = sum(len(batch) * max(lengths[index] for index in batch) for batch in cut)
    assert padded < 1.1 * sum(lengths)


def test_the_same_seed_gives_the_same_batches_and_another_seed_others() -> None:
    lengths = [5] * 100
    first, again, other = (list(batches(lengths, steps=50, shuffle=np.random.default_rng(s))) for s in (1, 1, 2))
    assert first == again != other


@given(st.integers(1, 100_000))
def test_a_bucket_holds_its_length_and_wastes_at_most_a_fifth(length: int) -> None:
    assert length <= bucket(length) <= max(length * 1.25, length)
    assert bucket(bucket(length)) == bucket(length)


def test_pad_fills_after_or_before_and_never_makes_an_empty_axis() -> None:
    arrays = [np.array([1, 2, 3]), np.array([4]), np.array([], dtype=int)]
    assert pad(arrays, value=9).tolist() == [[1, 2, 3], [4, 9, 9], [9, 9, 9]]
    assert pad(arrays, left=True).tolist() == [[1, 2, 3], [0, 0, 4], [0, 0, 0]]
    assert pad(arrays[2:]).shape == (1, 1)
    assert pad([np.int64(3), np.int64(5)]).tolist() == [3, 5]
    assert pad([np.zeros((2, 4)), np.zeros((3, 4))], length=5).shape == (2, 5, 4)
