"""Features on one scale: what is learnt from the training part, and what odd numbers become."""

from __future__ import annotations

import numpy as np
import pytest

from models.scaling import FARTHEST, Scale


def test_the_features_of_all_steps_get_mean_zero_and_deviation_one() -> None:
    generator = np.random.default_rng(0)
    arrays = [generator.normal([5, -1e6], [0.1, 1e4], size=(n, 2)) for n in (1, 30, 200)]
    scale = Scale.of(arrays)
    scaled = np.concatenate([scale.apply(array) for array in arrays])
    assert scaled.dtype == np.float32
    assert scaled.mean(0) == pytest.approx([0, 0], abs=1e-4)
    assert scaled.std(0) == pytest.approx([1, 1], abs=1e-4)
    assert Scale.model_validate_json(scale.model_dump_json()) == scale


def test_a_feature_that_never_changes_is_only_shifted() -> None:
    scale = Scale.of([np.full((4, 1), 1e6)])
    assert scale.apply(np.array([[1e6], [1e6 + 3]])).tolist() == [[0], [3]]


def test_wild_numbers_are_cut() -> None:
    scale = Scale.of([np.array([[0.0], [1.0]], dtype=np.float32)])
    assert scale.apply(np.array([[1e15], [-1e15]])).tolist() == [[FARTHEST], [-FARTHEST]]
