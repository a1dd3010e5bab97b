"""Anomalies: odd steps score high in any series, alarms are events, and labels judge without being learnt."""

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
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models.predictor import Predictor
from models.runtimes.torch_run import TorchRun
from models.task import Fault, Part
from models.tasks.anomaly import scoring
from models.tasks.anomaly.codec import CODEC, SEGMENT
from models.tasks.anomaly.network import NETWORK
from models.tasks.anomaly.prepare import FIRST, decayed, prepare, running
from models.tasks.anomaly.schema import CARD, LONGEST, AnomalyConfig, AnomalyParams, Item, Row, State
from models.tasks.anomaly.tables import SeriesTally, table
from models.trainer import train

DEFAULT = AnomalyParams()
DETECTORS = ("predictor", "autoencoder")


def sine(seed: int, n: int = 400, *, scale: float = 1.0, noise: float = 0.05) -> np.ndarray:
    random = np.random.default_rng(seed)
    return scale * (3 + np.sin(2 * np.pi * (np.arange(n) / 20 + random.uniform())) + random.normal(0, noise, n))


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


# what is found


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


# any series answers


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


def test_labels_are_zeros_and_ones_a_step() -> None:
    with pytest.raises(ValidationError, match="2 values but 1 labels"):
        Row.model_validate({"values": [1.0, 2.0], "labels": [1]})
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        Row.model_validate({"values": [1.0], "labels": [2]})


def test_a_long_series_is_read_in_chunks_with_the_same_answer(predictor: Predictor) -> None:
    values = sine(3, 2000)
    whole, first = ask(predictor, values), ask(predictor, values[:700])
    assert whole.scores[:700] == pytest.approx(first.scores, abs=1e-4)
    assert whole.expected[:700] == pytest.approx(first.expected, abs=1e-4)


# flags and alarms


def test_a_higher_sensitivity_flags_no_less(detector: Predictor) -> None:
    values = sine(6)
    values[200:210] += 1
    flags = [ask(detector, values, AnomalyParams(sensitivity=s)) for s in (0, 0.1, 0.5, 0.8, 0.95, 0.99, 1)]
    for fewer, more in itertools.pairwise(flags):
        assert fewer.threshold >= more.threshold
        assert not (np.array(fewer.is_anomaly) & ~np.array(more.is_anomaly)).any()
    assert np.mean(flags[0].is_anomaly) < 0.2
    assert np.mean(flags[-1].is_anomaly) > 0.6


@pytest.mark.parametrize("percentile", [80, 95, 99])
def test_the_threshold_is_the_percentile_of_held_out_scores(percentile: float) -> None:
    random = np.random.default_rng(0)
    state = calibrated(np.abs(random.normal(size=60_000)), percentile=percentile)
    fresh = scoring.relative(np.abs(random.normal(size=60_000)), state)[0]
    flagged = np.mean(scoring.scored(fresh, state) >= scoring.threshold(0.95, state))
    assert flagged == pytest.approx(1 - percentile / 100, rel=0.35)


def test_a_value_outside_the_interval_is_flagged(predictor: Predictor) -> None:
    values = sine(11, noise=0.3)
    output = ask(predictor, values)
    outside = (values < np.array(output.lower)) | (values > np.array(output.upper))
    outside[:FIRST] = False
    assert outside.any()
    assert np.array(output.is_anomaly)[outside].all()


def test_flags_near_each_other_are_one_event() -> None:
    flags = np.zeros(100, dtype=bool)
    flags[[10, 11, 15, 40]] = True
    scores = np.arange(100.0)
    assert scoring.events(flags, scores, merge=3) == [(10, 16, 15), (40, 41, 40)]
    assert scoring.events(flags, scores, merge=2) == [(10, 12, 11), (15, 16, 15), (40, 41, 40)]
    assert scoring.events(flags, scores, merge=100) == [(10, 41, 40)]
    assert scoring.events(np.zeros(3, dtype=bool), scores[:3], merge=1) == []


def test_events_carry_times_where_there_are_times(predictor: Predictor) -> None:
    values = sine(9)
    values[250] += 5
    times = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=at) for at in range(400)]
    dated = ask(predictor, values, timestamps=[time.isoformat() for time in times])
    event = next(event for event in dated.events if event.peak == 250)
    assert (event.start_time, event.peak_time, event.end_time) == (times[event.start], times[250], times[event.end - 1])
    assert ask(predictor, values).events[0].start_time is None
    assert event.score == dated.scores[250] >= dated.threshold


# scores


def calibrated(surprises: np.ndarray, **config: Any) -> State:
    state = CODEC.learn([Row(values=np.arange(50.0))], AnomalyConfig(**config))
    return scoring.calibrated([surprises], [np.ones(len(surprises), dtype=bool)], state)


def test_a_score_says_how_rare_a_step_is() -> None:
    state = calibrated(np.random.default_rng(0).exponential(size=50_000), smoothing=0)
    fresh = scoring.relative(np.random.default_rng(1).exponential(size=50_000), state)[0]
    scores = scoring.scored(fresh, state)
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
    assert scoring.scored(raised, state)[259] > scoring.scored(calm, state)[259] + 1
    lone = calm.copy()
    lone[200] = 1.8
    assert scoring.scored(lone, state)[259] == pytest.approx(scoring.scored(calm, state)[259], abs=0.1)


def test_what_is_usual_in_a_series_is_less_odd_there() -> None:
    state = calibrated(np.abs(np.random.default_rng(0).normal(size=20_000)))
    rough, calm = np.full(2000, 2.0), np.full(2000, 0.5)
    rough[-1] = calm[-1] = 4.0
    assert scoring.relative(rough, state)[0][-1] < scoring.relative(calm, state)[0][-1]


def test_young_series_are_judged_by_young_ones() -> None:
    assert scoring.youth([np.full(256, 1.0)] * 30, [np.ones(256, dtype=bool)] * 30, np.ones(1000)) == [1.0] * 7
    fresh = [np.r_[np.full(30, 4.0), np.full(226, 1.0)]] * 30
    factors = scoring.youth(fresh, [np.ones(256, dtype=bool)] * 30, np.ones(1000))
    assert factors[0] == 4.0
    assert factors[-1] == 1.0
    assert factors == sorted(factors, reverse=True)


# preparation


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


# options


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


# parts, labels and their masks


def spans(row: Row, part: Part) -> list[Any]:
    config = AnomalyConfig()
    return list(CODEC.examples(row, CODEC.learn([row], config), config, part))


def test_a_series_is_cut_along_time() -> None:
    labels = [0] * 1000
    row = Row(values=np.arange(1000.0), labels=labels)
    (validation,), (test,) = spans(row, "validation"), spans(row, "test")
    assert validation.answer.counted.sum() == test.answer.counted.sum() == 150
    assert max(e.context.series.values.max() for e in spans(row, "train")) == 699
    assert test.context.series.values.max() == 999
    unlabelled = Row(values=np.arange(1000.0))
    assert spans(unlabelled, "test") == []
    assert spans(unlabelled, "validation")[0].answer.counted.sum() == 150


def test_a_long_part_is_judged_in_segments_with_their_context() -> None:
    row = Row(values=np.arange(2.5 * SEGMENT), split="validation")
    found = spans(row, "validation")
    assert [example.answer.counted.sum() for example in found] == [SEGMENT, SEGMENT, SEGMENT // 2]
    assert len(found[1].answer.counted) > SEGMENT
    assert spans(row, "train") == spans(row, "test") == []


def test_short_series_lie_whole_in_one_part() -> None:
    rows = [Row(values=sine(seed, 30), labels=[0] * 30) for seed in range(60)]
    config = AnomalyConfig(detector="autoencoder")
    state = CODEC.learn(rows, config)
    held = [
        [part for part in ("train", "validation", "test") if list(CODEC.examples(row, state, config, part))]
        for row in rows
    ]
    assert all(len(parts) == 1 for parts in held)
    assert {parts[0] for parts in held} == {"train", "validation", "test"}


@pytest.mark.parametrize("name", DETECTORS)
def test_labelled_anomalies_are_not_learnt(name: str) -> None:
    values, labels = sine(0, 300), [0] * 300
    values[100:110], labels[100:110] = 1e6, [1] * 10
    row = Row(values=values, labels=labels, split="train")
    config = AnomalyConfig(detector=name)
    for example in CODEC.examples(row, CODEC.learn([row], config), config, "train"):
        assert np.nanmax(example.context.series.values) < 100
    held = Row(values=values, labels=labels, split="validation")
    (example,) = CODEC.examples(held, CODEC.learn([row], config), config, "validation")
    assert np.nanmax(example.context.series.values) == 1e6
    target = example.arrays["target"]
    assert np.nanmax(np.abs(target)) < 9
    assert np.isnan(target).any()


def test_scores_are_pointwise_and_need_labels() -> None:
    random = np.random.default_rng(0)
    rows = []
    for seed in range(4):
        values, labels = sine(seed, 600), [0] * 600
        for at in random.choice(np.arange(430, 590), 6, replace=False):
            values[at] += 3
            labels[at] = 1
        rows.append(Row(values=values, labels=labels))
    asked = AnomalyConfig(hidden=12, epochs=15, lr=0.01, ahead=[1], smoothing=0)
    made = train(CODEC, NETWORK, {"train": rows, "validation": rows, "test": rows}, asked)
    assert made.metrics["auroc"] > 0.95
    assert 0 < made.metrics["auprc"] <= 1
    assert 0 < made.metrics["best_f1"] <= 1
    assert CODEC.score([], []) == {}


def test_the_loss_counts_what_is_there() -> None:
    config = AnomalyConfig(hidden=4)
    row = Row(values=sine(0, 50))
    state = CODEC.learn([row], config)
    example = next(CODEC.examples(row, state, config, "train"))
    net = NETWORK.build(state, config).eval()
    batch = CODEC.collate([example]).mapped(torch.from_numpy)
    whole, count = NETWORK.loss(net, batch)
    batch.arrays["target"][:, 20:] = float("nan")
    less, fewer = NETWORK.loss(net, batch)
    assert fewer < count
    assert 0 < less.item() < whole.item()


# data sets


def gathered(*records: dict[str, Any]) -> list[dict[str, Any]]:
    found = [dict(made) for _, made in table(iter(list(enumerate(records, start=2))))]
    for made in found:
        Row.model_validate(made)
    return found


def test_a_table_is_a_record_a_step() -> None:
    (row,) = gathered(
        {"timestamp": "2024-01-02", "value": "2", "label": "1"}, {"timestamp": "2024-01-01", "value": "", "label": None}
    )
    assert (row["values"], row["labels"]) == ([None, "2"], [0, "1"])
    assert row["timestamps"][0].startswith("2024-01-01")
    (wide,) = gathered({"time": "1", "a": "1", "b": "2"}, {"time": "2", "a": "3", "b": "NA"})
    assert wide == {"values": [["1", "2"], ["3", None]]}
    a, b = gathered({"id": "a", "value": 1.0}, {"id": "b", "value": 2.0}, {"id": "a", "value": 3.0})
    assert (a["values"], b["values"]) == ([1.0, 3.0], [2.0])
    assert gathered({"values": [1, 2], "id": "x"}) == [{"values": [1, 2], "id": "x"}]


def test_a_series_of_a_table_lies_in_one_part() -> None:
    (row,) = gathered({"value": 1, "split": "test"}, {"value": 2, "split": "test"})
    assert row["split"] == "test"
    with pytest.raises(Fault, match="names the parts 'train' and 'test'"):
        gathered({"id": "a", "value": 1, "split": "train"}, {"id": "a", "value": 2, "split": "test"})


def test_the_statistics_of_a_data_set() -> None:
    tally = SeriesTally()
    tally.add(Row.model_validate({"values": [1.0, None, 2.0], "labels": [0, 1, 1]}), line=1, part=None)
    tally.add(Row.model_validate({"values": [3.0, 3.0], "timestamps": ["2024-01-01", "2024-01-02"]}), line=2, part=None)
    stats = tally.stats()
    assert (stats["series"], stats["steps"], stats["missing"], stats["constant_series"]) == (2, 5, 1, 1)
    assert (stats["labelled_anomalies"], stats["labelled_steps"], stats["longest"]) == (1, 2, 3)
    assert any("never change" in found for found in tally.warnings())
    assert any("no timestamps" in found for found in tally.warnings())
    assert any("labelled as anomalies" in found for found in tally.warnings())
    assert tally.faults() == []
    tally.add(Row(values=np.zeros((3, 2))), line=3, part=None)
    assert tally.faults() == [(3, "2 numbers in a step, where the first row has 1")]
    json.dumps(stats)


def test_rows_survive_being_written() -> None:
    row = Row(values=np.array([1.0, np.nan, 2.0]), labels=[0, 1, 0], id="x")
    again = Row.model_validate_json(row.model_dump_json(exclude_none=True))
    np.testing.assert_array_equal(again.values, row.values)
    assert (again.labels, again.id) == ([0, 1, 0], "x")
