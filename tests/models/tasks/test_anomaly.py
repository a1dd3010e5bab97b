"""Anomalies: odd steps score high in any series, alarms are events, and every option changes the answer."""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models.predictor import Predictor
from models.runtimes.torch_run import TorchRun
from models.task import Fault, Part
from models.tasks.anomaly.codec import CODEC
from models.tasks.anomaly.network import NETWORK
from models.tasks.anomaly.prepare import FIRST
from models.tasks.anomaly.schema import CARD, LONGEST, AnomalyConfig, AnomalyParams, Item, Row
from models.trainer import train
from tests.models.tasks.waves import sine

DEFAULT = AnomalyParams()
DETECTORS = ("predictor", "autoencoder")


def learnt(found: list[Row], **config: Any) -> Predictor:
    parts: Mapping[Part, list[Row]] = {"train": found, "validation": found, "test": found}
    asked = AnomalyConfig(**{"hidden": 12, "epochs": 18, "patience": 18, "lr": 0.01, "ahead": [1, 8], **config})
    made = train(CODEC, NETWORK, parts, asked)
    return Predictor(CODEC, made.state, asked, TorchRun(made.net, NETWORK))


def ask(held: Predictor, values: Any, params: AnomalyParams = DEFAULT, **given: Any) -> Any:
    item = Item.model_validate({"values": values, **given})
    return held.answer([held.prepare(item, params)], params)[0]


@functools.cache
def of_sines(name: str) -> Predictor:
    """Learnt from sines whose scales lie far apart."""
    return learnt([Row(values=sine(seed, scale=10.0**seed)) for seed in range(4)], detector=name)


@pytest.fixture(params=DETECTORS)
def detector(request: pytest.FixtureRequest) -> Predictor:
    return of_sines(request.param)


@pytest.fixture
def predictor() -> Predictor:
    return of_sines("predictor")


def test_a_spike_is_the_oddest_step_at_any_scale(detector: Predictor) -> None:
    for scale in (0.01, 1.0, 5000.0):
        values = sine(9, scale=scale)
        values[250] += 3 * scale
        output = ask(detector, values)
        assert int(np.argmax(output.scores[100:])) + 100 == 250
        assert output.is_anomaly[250]
        assert output.expected[250] == pytest.approx(values[250] - 3 * scale, abs=1.0 * scale)
        assert values[250] > output.upper[250]


def test_a_stretch_that_loses_its_rhythm_is_found(detector: Predictor) -> None:
    values = sine(8)
    values[250:290] = 3.0
    output = ask(detector, values)
    assert max(output.scores[250:295]) > max(output.scores[100:200])
    assert any(event.start < 295 and event.end > 250 for event in output.events)


def test_a_clean_series_is_hardly_flagged(detector: Predictor) -> None:
    assert np.mean(ask(detector, sine(7, 600)).is_anomaly) < 0.08


def test_a_feature_alone_can_be_odd() -> None:
    rows = [Row(values=np.stack([sine(seed), 100 * sine(seed)], axis=1)) for seed in range(3)]
    for name in DETECTORS:
        held = learnt(rows, detector=name, epochs=10)
        values = np.stack([sine(9), 100 * sine(9)], axis=1)
        values[300, 1] -= 300
        output = ask(held, values)
        assert int(np.argmax(output.scores[100:])) + 100 == 300
        assert np.array(output.expected).shape == np.array(output.lower).shape == (400, 2)
        assert values[300, 1] < output.lower[300][1]
        with pytest.raises(Fault, match="1 numbers in a step; this model reads 2"):
            ask(held, [1.0, 2.0])
        assert len(held.answer([held.prepare(item, DEFAULT) for item in CODEC.probes(held.state)], DEFAULT)) == 2


def test_an_odd_level_is_seen_where_series_share_their_scale() -> None:
    rows = [Row(values=sine(seed)) for seed in range(4)]
    held = learnt(rows, epochs=8)
    assert held.state.location is not None
    output = ask(held, sine(9) + 4)
    assert np.mean(output.is_anomaly) > 0.9
    own = learnt(rows, scaling="series", epochs=2)
    assert own.state.location is None
    assert learnt([Row(values=sine(s, scale=10.0**s)) for s in range(3)], epochs=1).state.location is None
    forced = learnt([Row(values=sine(s, scale=10.0**s)) for s in range(3)], epochs=1, scaling="shared")
    assert forced.state.location is not None


NUMBER = st.none() | st.floats(-1e15, 1e15)


@given(values=st.lists(NUMBER, min_size=1, max_size=80))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_series_answers_with_finite_numbers(detector: Predictor, values: list[float | None]) -> None:
    if all(value is None for value in values):
        with pytest.raises(Fault, match="at least one number"):
            ask(detector, values)
        return
    output = ask(detector, values)
    for trace in (output.scores, output.expected, output.lower, output.upper):
        assert len(trace) == len(values)
        assert np.isfinite(trace).all()
    assert (np.array(output.lower) <= np.array(output.expected)).all()
    assert (np.array(output.expected) <= np.array(output.upper)).all()
    assert output.warm_up <= len(values)
    for value, score, flag in zip(values, output.scores, output.is_anomaly, strict=True):
        assert value is not None or (score == 0 and not flag)
    json.dumps(output.model_dump(mode="json"), allow_nan=False)


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize(
    "values", [[5.0] * 60, [0.0] * 60, [1e15, -1e15] * 30, [5e-324, 1.0] * 30, [None, 1.0, 2.0] * 20, [1.0, 2.0]]
)
def test_odd_series_teach_and_are_answered(name: str, values: list[float | None]) -> None:
    held = learnt([Row.model_validate({"values": values})] * 2, detector=name, epochs=1, hidden=4)
    assert np.isfinite(ask(held, values).scores).all()
    assert ask(held, [1.0]).warm_up == 1


def test_a_constant_series_that_jumps_is_odd_there(detector: Predictor) -> None:
    output = ask(detector, [7.0] * 300 + [8.0] + [7.0] * 50)
    assert int(np.argmax(output.scores[260:])) + 260 == 300


def test_a_missing_step_is_expected_and_not_judged(detector: Predictor) -> None:
    values: list[float | None] = sine(5).tolist()
    values[300] = None
    output = ask(detector, values)
    assert (output.scores[300], output.is_anomaly[300]) == (0.0, False)
    assert output.expected[300] == pytest.approx(float(sine(5)[300]), abs=1.2)


def test_lists_and_files_and_bare_lists_are_one_item(predictor: Predictor) -> None:
    values = sine(5)
    whole = ask(predictor, values).scores
    assert ask(predictor, values.tolist()).scores == whole
    bare = predictor.answer([predictor.prepare(CARD.parse_item(values.tolist()), DEFAULT)], DEFAULT)[0]
    assert bare.scores == whole


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"values": []}, "at least 1"),
        ({"values": [1.0, math.inf]}, "finite"),
        ({"values": [[1.0], [1.0, 2.0]]}, "2 numbers where step 0 has 1"),
        ({"values": ["🙂"]}, "valid number"),
        ({"values": [1.0, 2.0], "timestamps": ["2024-01-01"]}, "2 values but 1 timestamps"),
        ({"values": np.zeros(LONGEST + 1)}, f"{LONGEST + 1} steps; from 1 to {LONGEST} are taken"),
    ],
)
def test_what_is_no_series_is_refused_in_a_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Item.model_validate(given)


def test_a_long_series_is_read_in_chunks_with_the_same_answer(predictor: Predictor) -> None:
    values = sine(3, 2000)
    whole, first = ask(predictor, values), ask(predictor, values[:700])
    assert whole.scores[:700] == pytest.approx(first.scores, abs=1e-4)
    assert whole.expected[:700] == pytest.approx(first.expected, abs=1e-4)


def test_a_higher_sensitivity_flags_no_less(detector: Predictor) -> None:
    values = sine(6)
    values[200:210] += 1
    flags = [ask(detector, values, AnomalyParams(sensitivity=s)) for s in (0, 0.1, 0.5, 0.8, 0.95, 0.99, 1)]
    for fewer, more in itertools.pairwise(flags):
        assert fewer.threshold >= more.threshold
        assert not (np.array(fewer.is_anomaly) & ~np.array(more.is_anomaly)).any()
    assert np.mean(flags[0].is_anomaly) < 0.2
    assert np.mean(flags[-1].is_anomaly) > 0.6


def test_a_value_outside_the_interval_is_flagged(predictor: Predictor) -> None:
    values = sine(11, noise=0.3)
    output = ask(predictor, values)
    outside = (values < np.array(output.lower)) | (values > np.array(output.upper))
    outside[:FIRST] = False
    assert outside.any()
    assert np.array(output.is_anomaly)[outside].all()


def test_events_carry_times_where_there_are_times(predictor: Predictor) -> None:
    values = sine(9)
    values[250] += 5
    times = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=at) for at in range(400)]
    dated = ask(predictor, values, timestamps=[time.isoformat() for time in times])
    event = next(event for event in dated.events if event.peak == 250)
    assert (event.start_time, event.peak_time, event.end_time) == (times[event.start], times[250], times[event.end - 1])
    assert ask(predictor, values).events[0].start_time is None
    assert event.score == dated.scores[250] >= dated.threshold


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "peephole", "coupled", "slstm"])
@pytest.mark.parametrize("name", DETECTORS)
def test_every_cell_learns(cell: str, name: str) -> None:
    held = learnt([Row(values=sine(0, 60))], detector=name, cell=cell, epochs=1, hidden=4, layers=[4, 3], window=20)
    assert len(ask(held, sine(1, 30)).scores) == 30


@pytest.mark.parametrize(
    "given",
    [
        {"detector": "autoencoder"},
        {"detector": "autoencoder", "bidirectional": True},
        {"window": 40},
        {"windows": 2},
        {"ahead": [2]},
        {"scaling": "shared"},
        {"memory": 20},
        {"smoothing": 0},
        {"percentile": 90},
    ],
)
def test_every_option_changes_the_answer(given: dict[str, Any]) -> None:
    plain = learnt(ROWS, **QUICK)
    other = learnt(ROWS, **{**QUICK, **given})
    values = sine(4, 200)
    one, two = ask(plain, values), ask(other, values)
    assert (one.scores, one.threshold) != (two.scores, two.threshold)


ROWS = [Row(values=sine(seed, 150, scale=10.0**seed)) for seed in range(2)]
QUICK: dict[str, Any] = {"hidden": 4, "epochs": 1, "window": 24}


def test_a_predictor_does_not_read_backwards() -> None:
    with pytest.raises(ValidationError, match="would read the future"):
        AnomalyConfig(bidirectional=True)


def test_horizons_beyond_the_series_are_left_out() -> None:
    assert CODEC.learn([Row(values=np.arange(60.0))], AnomalyConfig()).ahead == [1, 8]
    assert CODEC.learn([Row(values=np.arange(2.0))], AnomalyConfig(ahead=[5, 3])).ahead == [3]
