"""How odd a step is: rarity, thresholds and events, and what is known of a step before it. Trains nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from models.tasks.anomaly import scoring
from models.tasks.anomaly.codec import CODEC
from models.tasks.anomaly.detectors import PREDICTOR
from models.tasks.anomaly.prepare import FIRST, Past, decayed, prepare, running
from models.tasks.anomaly.schema import AnomalyConfig, Row, State


def calibrated(surprises: np.ndarray, **config: Any) -> State:
    state = CODEC.learn([Row(values=np.arange(50.0))], AnomalyConfig(**config))
    return scoring.calibrated([surprises], [surprises], [np.ones(len(surprises), dtype=bool)], state)


@pytest.mark.parametrize("percentile", [80, 95, 99])
def test_the_threshold_is_the_percentile_of_held_out_scores(percentile: float) -> None:
    random = np.random.default_rng(0)
    state = calibrated(np.abs(random.normal(size=60_000)), percentile=percentile)
    fresh = np.abs(random.normal(size=60_000))
    flagged = np.mean(scoring.scored(fresh, fresh, state) >= scoring.threshold(0.95, state))
    assert flagged == pytest.approx(1 - percentile / 100, rel=0.35)


def test_flags_near_each_other_are_one_event() -> None:
    flags = np.zeros(100, dtype=bool)
    flags[[10, 11, 15, 40]] = True
    scores = np.arange(100.0)
    assert scoring.events(flags, scores, merge=3) == [(10, 16, 15), (40, 41, 40)]
    assert scoring.events(flags, scores, merge=2) == [(10, 12, 11), (15, 16, 15), (40, 41, 40)]
    assert scoring.events(flags, scores, merge=100) == [(10, 41, 40)]
    assert scoring.events(np.zeros(3, dtype=bool), scores[:3], merge=1) == []


def test_a_score_says_how_rare_a_step_is() -> None:
    state = calibrated(np.random.default_rng(0).exponential(size=50_000), smoothing=0)
    fresh = np.random.default_rng(1).exponential(size=50_000)
    scores = scoring.scored(fresh, fresh, state)
    for rare in (0.5, 1.0, 2.0, 2.5, 3.0):
        assert np.mean(scores >= rare) == pytest.approx(10**-rare, rel=0.35)


def test_rarity_rises_and_has_an_inverse() -> None:
    tail = scoring.fitted(np.random.default_rng(0).exponential(size=5000))
    numbers = np.geomspace(1e-3, 1e3, 200)
    rare = scoring.rarity(tail, numbers)
    assert (np.diff(rare) >= 0).all()
    for number, rarity in zip(numbers[60:160], rare[60:160], strict=True):
        assert scoring.number_of(tail, float(rarity)) == pytest.approx(number, rel=0.05)


def test_a_stretch_of_middling_surprises_counts_more_than_its_steps() -> None:
    state = calibrated(np.abs(np.random.default_rng(0).normal(size=20_000)))
    calm = np.full(300, 0.7)
    raised = calm.copy()
    raised[200:260] = 1.8
    assert scoring.scored(raised, raised, state)[259] > scoring.scored(calm, calm, state)[259] + 1
    lone = calm.copy()
    lone[200] = 1.8
    assert scoring.scored(lone, lone, state)[259] == pytest.approx(scoring.scored(calm, calm, state)[259], abs=0.1)


def test_young_series_are_judged_by_young_ones() -> None:
    assert scoring.youth([np.full(256, 1.0)] * 30, [np.ones(256, dtype=bool)] * 30, np.ones(1000)) == [1.0] * 7
    fresh = [np.r_[np.full(30, 4.0), np.full(226, 1.0)]] * 30
    factors = scoring.youth(fresh, [np.ones(256, dtype=bool)] * 30, np.ones(1000))
    assert factors[0] == 4.0
    assert factors[-1] == 1.0
    assert factors == sorted(factors, reverse=True)


def test_decaying_sums_are_those_of_their_definition() -> None:
    values = np.random.default_rng(0).normal(size=(200, 2))
    keep, held, expected = 0.5 ** (1 / 7), np.full(2, 3.0), []
    for step in values:
        held = keep * held + (1 - keep) * step
        expected.append(held)
    np.testing.assert_allclose(decayed(values, 7, start=3.0), expected)


def test_what_is_known_of_a_step_comes_from_those_before_it() -> None:
    values = np.random.default_rng(0).normal(size=(300, 1))
    changed = values.copy()
    changed[200:] += 50
    for before, after in zip(running(values, half_life=50), running(changed, half_life=50), strict=True):
        np.testing.assert_allclose(before[:201], after[:201])
        assert abs(before[250] - after[250]) > 0.1


def test_a_wild_step_hardly_moves_the_level() -> None:
    values = np.random.default_rng(0).normal(size=(300, 1))
    values[200] = 1e6
    level, spread = running(values, half_life=1000)
    assert abs(level[-1, 0]) < 0.5
    assert spread[-1, 0] < 2


def test_the_hour_and_the_weekday_turn() -> None:
    times = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=6 * at) for at in range(29)]
    facts = prepare(np.arange(29.0)[:, None], times, memory=100, location=None, scale=None).facts
    np.testing.assert_allclose(facts[0, :4], facts[28, :4], atol=1e-9)
    np.testing.assert_allclose(facts[0, 0], facts[4, 0], atol=1e-9)
    assert abs(facts[0, 1] - facts[4, 1]) > 0.1


def test_what_was_forecast_before_a_series_showed_its_spread_does_not_count() -> None:
    values = (100 + 10 * np.sin(np.arange(120) / 4))[:, None]
    state = CODEC.learn([Row(values=values[:, 0])], AnomalyConfig(scaling="series", ahead=[1, 8, 30]))
    series = prepare(values, None, memory=state.memory, location=None, scale=None)
    flat = np.tile(np.array([0.0, 1.0, 1.0]), (len(values), len(state.ahead), 1, 1))
    judged = PREDICTOR.judged(flat, series, state, Past())
    assert np.nanmax(judged.surprise) < 20, "a spread told by one value is next to none"
    assert np.isnan(judged.surprise[:FIRST]).all()
    assert not np.isnan(judged.surprise[FIRST:]).any()
    assert (judged.below > 0).all()
