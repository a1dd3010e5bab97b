"""Seasons are found where there are any, under noise, trend, gaps and spikes, and not where there are none."""

from __future__ import annotations

import numpy as np
import pytest

from models.period import period

STEPS = np.arange(240)


@pytest.mark.parametrize("season", [4, 7, 12, 24])
def test_a_season_is_found_under_noise_and_trend(season: int) -> None:
    noise = np.random.default_rng(season).normal(size=240)
    values = 100 + 0.5 * STEPS + 5 * np.sin(2 * np.pi * STEPS / season) + noise
    assert period(values) == season
    values[50] = 1000.0
    values[100:103] = np.nan
    assert period(values) == season


def test_the_shorter_of_two_that_explain_as_much_counts() -> None:
    week = np.tile([5.0, 1.0, 1.0, 1.0, 1.0, 1.0, 9.0], 34)
    assert period(week) == 7


@pytest.mark.parametrize("seed", range(5))
def test_noise_has_no_season(seed: int) -> None:
    assert period(np.random.default_rng(seed).normal(size=240)) == 0


@pytest.mark.parametrize(
    "values", [np.full(50, 3.0), np.full(50, np.nan), 2.0 * STEPS, np.array([1.0, 2.0, 1.0]), 1e15 * np.ones(20)]
)
def test_what_does_not_swing_has_none(values: np.ndarray) -> None:
    assert period(values) == 0
