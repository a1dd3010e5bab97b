"""Forecasting: any series answers with finite quantiles that never cross, and what can be known of it is learnt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models.arrays import npy
from models.monitor import TrainingError
from models.nets.recurrent import CELLS
from models.predictor import Predictor
from models.runtimes.torch_run import TorchRun
from models.task import Fault, Part
from models.tasks.forecasting.codec import CODEC, LEVELS, NaiveErrors
from models.tasks.forecasting.network import NETWORK
from models.tasks.forecasting.prepare import prepare
from models.tasks.forecasting.schema import CARD, ForecastingConfig, ForecastingParams, Item, Row, SeriesTally
from models.trainer import train

MANY = ForecastingParams(quantiles=[0.001, 0.1, 0.33, 0.5, 0.9, 0.999])
SMALL = ForecastingConfig(hidden=8, epochs=2)


def seasonal(seed: int, n: int = 72, level: float = 100.0) -> list[float]:
    noise = np.random.default_rng(seed)
    time = np.arange(n)
    grown = level * np.exp(0.004 * time + 0.2 * np.sin(2 * np.pi * time / 12) + 0.02 * noise.normal(size=n))
    return [float(value) for value in grown]


def rows(count: int = 6, **given: Any) -> list[Row]:
    """Monthly series whose scales lie far apart."""
    return [Row(values=seasonal(seed, level=10.0**seed), freq="M", **given) for seed in range(count)]


def learnt(found: list[Row], config: ForecastingConfig = SMALL) -> Predictor:
    parts: Mapping[Part, list[Row]] = {"train": found, "validation": found, "test": found}
    made = train(CODEC, NETWORK, parts, config)
    return Predictor(CODEC, made.state, config, TorchRun(made.net, NETWORK))


def ask(predictor: Predictor, values: list[Any], params: ForecastingParams = MANY, **given: Any) -> Any:
    return predictor.answer([predictor.prepare(Item(values=values, **given), params)], params)[0]


@pytest.fixture(scope="module")
def forecaster() -> Predictor:
    return learnt(rows())


# any series answers


NUMBER = st.none() | st.floats(-1e15, 1e15)


@given(values=st.lists(NUMBER, min_size=1, max_size=60), freq=st.sampled_from([None, "Y", "M", "15min", "W"]))
@example(values=[5e-324, 1e-320, 5e-324, -1e15, 5e-324], freq=None)
@settings(max_examples=60, deadline=None)
def test_any_series_answers_with_finite_quantiles_that_never_cross(
    forecaster: Predictor, values: list[float | None], freq: str | None
) -> None:
    if all(value is None for value in values):
        with pytest.raises(Fault, match="at least one number"):
            ask(forecaster, values, freq=freq)
        return
    output = ask(forecaster, values, freq=freq)
    levels = np.array(list(output.quantiles.values()))
    assert np.isfinite(levels).all()
    assert np.isfinite(output.mean).all()
    assert (np.diff(levels, axis=0) >= 0).all()


@pytest.mark.parametrize(
    "values",
    [
        [5.0] * 30,
        [0.0],
        [1e15, -1e15] * 9,
        [5e-324, 1.0],
        [1e-300, 1e15],
        [None, None, 3.0],
        [3.0, None] * 40,
    ],
)
@pytest.mark.parametrize("adjust", ["none", "classical"])
def test_odd_series_teach_and_are_answered(values: list[float | None], adjust: str) -> None:
    config = ForecastingConfig(hidden=4, epochs=1, **{"adjust": adjust, "horizon": 3})
    predictor = learnt([Row(values=values, freq="M"), Row(values=[1.0, 2.0, 4.0, 3.0] * 8)], config)
    assert np.isfinite(ask(predictor, values, freq="M").mean).all()


def test_a_constant_series_stays_what_it_is(forecaster: Predictor) -> None:
    assert ask(forecaster, [7.0] * 40, freq="M").mean == pytest.approx([7.0] * 12, rel=0.5)


@pytest.mark.parametrize(
    ("lengths", "sentence"),
    [
        ([40, 30], None),
        (
            [40, 12, 20],
            "2 of 3 training series are shorter than look_back + horizon = 30 steps and never fill a window: "
            "set `look_back` to 6, or give longer ones",
        ),
        (
            [40, 5],
            "1 of 2 training series are shorter than look_back + horizon = 30 steps: give longer ones, or set "
            "`horizon` below 5, the length of the shortest",
        ),
    ],
)
def test_series_too_short_for_a_window_are_told_with_what_to_do(lengths: list[int], sentence: str | None) -> None:
    config = ForecastingConfig(look_back=24, horizon=6)
    found = [Row(values=[float(n) for n in range(length)]) for length in lengths]
    held_back = Row(values=[1.0], split="test")
    state = CODEC.learn(found, config)
    told = CODEC.remarks({"train": found, "test": [*found, held_back]}, state, config)
    assert told == ([] if sentence is None else [sentence])


def test_series_without_any_value_are_told() -> None:
    tally, empty = SeriesTally(), Row(values=[None] * 9)
    tally.add(empty, line=1, part=None)
    assert tally.warnings() == ["1 of 1 series hold no value at all"]
    with pytest.raises(TrainingError, match="1 of 1 training series hold no value at all") as found:
        learnt([empty])
    assert found.value.remedy.startswith("mend the rows")


def test_series_without_two_values_are_refused_in_a_sentence() -> None:
    with pytest.raises(TrainingError, match=r"none of the 1 training rows gives an example; .*: give longer ones$"):
        learnt([Row(values=[1.0])])


def test_the_scale_of_a_series_changes_nothing_but_the_scale_of_its_answer(forecaster: Predictor) -> None:
    values = seasonal(3)
    one = ask(forecaster, values, freq="M")
    thousand = ask(forecaster, [1000 * value for value in values], freq="M")
    assert thousand.mean == pytest.approx([1000 * value for value in one.mean], rel=1e-4)


def test_missing_values_are_not_read_as_numbers(forecaster: Predictor) -> None:
    values: list[float | None] = list(seasonal(3))
    whole = ask(forecaster, values, freq="M").mean
    values[-5] = None
    example = forecaster.prepare(Item(values=values, freq="M"), MANY)
    assert example.arrays["values"][-5, :2].tolist() == [0.0, 0.0]
    assert ask(forecaster, values, freq="M").mean == pytest.approx(whole, rel=0.3)


def test_a_long_gap_before_now_keeps_the_season_in_step() -> None:
    window = {"season": 4, "look_back": 8, "horizon": 4, "log": False, "adjust": True, "scale": 1.0}
    past = np.tile([1.0, 2.0, 3.0, 4.0], 6)
    expected = prepare(past, **window).ahead
    state = CODEC.learn([Row(values=past.tolist(), freq="Q")], ForecastingConfig(adjust="classical", look_back=8))
    state = state.model_copy(update={"log": False})
    values = [*past.tolist(), *[None] * 101]
    context, _ = CODEC.example(Item(values=values, freq="Q"), ForecastingParams(), state, SMALL).context
    assert context.ahead[:4] == pytest.approx(np.roll(expected, -1), abs=0.05)


# options


def test_levels_are_interpolated_and_named_as_asked(forecaster: Predictor) -> None:
    output = ask(forecaster, seasonal(2), ForecastingParams(horizon=3, quantiles=[0.35, 0.3, 0.4]), freq="M")
    assert list(output.quantiles) == ["0.3", "0.35", "0.4"]
    low, middle, high = (np.array(found) for found in output.quantiles.values())
    assert len(middle) == len(output.mean) == 3
    assert middle == pytest.approx((low + high) / 2)


def test_a_horizon_beyond_the_models_is_a_fault_of_the_params(forecaster: Predictor) -> None:
    with pytest.raises(Fault, match="a horizon of 13 is beyond the 12 steps") as found:
        ask(forecaster, [1.0, 2.0], ForecastingParams(horizon=13))
    assert (found.value.of, found.value.at) == ("params", ("horizon",))


@pytest.mark.parametrize("level", [0, 1, -0.1])
def test_a_level_outside_of_zero_and_one_is_refused(level: float) -> None:
    with pytest.raises(ValidationError):
        ForecastingParams(quantiles=[level])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("given", [{"look_back": 1}, {"look_back": 400, "layers": [6, 4]}, {"bidirectional": True}])
def test_every_cell_reads_any_look_back(cell: str, given: dict[str, Any]) -> None:
    predictor = learnt(rows(2), ForecastingConfig(hidden=4, epochs=1, windows=60, **{"cell": cell}, **given))
    assert len(ask(predictor, seasonal(1), freq="M").mean) == 12
    assert len(ask(predictor, [1.0]).mean) == 12


# what is learnt


def test_a_season_is_forecast_better_than_by_its_repetition() -> None:
    found = [Row(values=values[:-12], test_values=values[-12:], freq="M") for values in map(seasonal, range(16))]
    config = ForecastingConfig(hidden=16, epochs=6)
    made = train(CODEC, NETWORK, {"train": found, "validation": found, "test": found}, config)
    predictor = Predictor(CODEC, made.state, config, TorchRun(made.net, NETWORK))
    errors, naive = [], []
    for row in found:
        future = np.array(row.test_values)
        errors.append(np.abs(np.array(ask(predictor, list(row.values), freq="M").quantiles["0.5"]) - future).mean())
        naive.append(np.abs(np.array(row.values[-12:]) - future).mean())
    assert np.mean(errors) < 0.8 * np.mean(naive)
    assert made.metrics["test_mase"] < 1


def test_auto_adjusts_series_with_a_season_and_leaves_others() -> None:
    assert CODEC.learn(rows(), SMALL).adjust
    walks = [Row(values=np.random.default_rng(seed).normal(size=90).cumsum().tolist(), freq="M") for seed in range(60)]
    assert not CODEC.learn(walks, SMALL).adjust
    assert not CODEC.learn(rows(), ForecastingConfig(adjust="none")).adjust


@pytest.mark.parametrize(
    ("row", "given", "horizon"),
    [
        (Row(values=[1.0, 2.0], freq="H"), {}, 24),
        (Row(values=[1.0, 2.0]), {}, 12),
        (Row(values=[1.0, 2.0], freq="M", test_values=[1.0] * 18), {}, 18),
        (Row(values=[1.0, 2.0], freq="M", test_values=[1.0] * 18), {"horizon": 2}, 2),
    ],
)
def test_the_horizon_comes_from_config_or_held_out_values_or_frequency(
    row: Row, given: dict[str, Any], horizon: int
) -> None:
    assert CODEC.learn([row], ForecastingConfig(**given)).horizon == horizon


# parts along time


def origins(row: Row, part: Part, config: ForecastingConfig = SMALL) -> list[Any]:
    return [example.answer.values for example in CODEC.examples(row, CODEC.learn([row], config), config, part)]


def test_the_parts_of_a_series_do_not_overlap() -> None:
    row = Row(values=[float(at) for at in range(60)], freq="M", test_values=[100.0 + at for at in range(12)])
    assert max(float(found.max()) for found in origins(row, "train")) == 47
    assert [found.tolist() for found in origins(row, "validation")] == [[float(at) for at in range(48, 60)]]
    assert [found.tolist() for found in origins(row, "test")] == [[100.0 + at for at in range(12)]]


def test_a_long_series_is_held_out_in_several_windows() -> None:
    row = Row(values=np.sin(np.arange(2000)).tolist(), freq="H")
    assert len(origins(row, "validation")) > 3
    assert len(origins(row, "validation", ForecastingConfig(horizon=90))) == 1
    assert {len(found) for found in origins(row, "validation", ForecastingConfig(horizon=90))} == {90}
    assert len(origins(row, "train", ForecastingConfig(windows=50))) == 50


def test_a_row_with_a_split_lies_in_that_part_alone() -> None:
    for part in ("train", "validation", "test"):
        row = Row(values=seasonal(1), freq="M", split=part)
        assert [name for name in ("train", "validation", "test") if origins(row, name)] == [part]


def test_the_error_of_the_naive_is_that_of_its_definition() -> None:
    values = np.array([1.0, 4.0, np.nan, 2.0, 7.0, 3.0])
    errors = NaiveErrors(values, 2)
    assert errors.before(6) == pytest.approx((abs(2 - 4) + abs(3 - 2)) / 2)
    assert errors.before(2) == pytest.approx(3.0)
    assert (errors.before(1), NaiveErrors(values[:1], 12).before(1)) == (0.0, 0.0)


# the network


def test_quantiles_rise_whatever_the_weights() -> None:
    state = CODEC.learn(rows(2), SMALL)
    net = NETWORK.build(state, SMALL)
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=3.0)
    said = net(torch.randn(5, 7, 4), torch.randn(5, 5), torch.tensor([7, 1, 3, 7, 2]))
    assert said.shape == (5, 12, len(LEVELS))
    assert (said.diff(dim=2) >= 0).all()


def test_a_missing_future_weighs_nothing() -> None:
    state = CODEC.learn(rows(2), SMALL)
    net = NETWORK.build(state, SMALL).eval()
    example = next(CODEC.examples(rows(1)[0], state, SMALL, "validation"))
    batch = CODEC.collate([example]).mapped(torch.from_numpy)
    whole, count = NETWORK.loss(net, batch)
    batch.arrays["target"][:, 6:] = float("nan")
    half, less = NETWORK.loss(net, batch)
    assert (count, less) == (12, 6)
    assert 0 < half.item() < whole.item()


def test_an_answer_is_dated_where_the_item_is(forecaster: Predictor) -> None:
    output = ask(forecaster, [1.0, 2.0], ForecastingParams(horizon=2), freq="D", start="2024-02-27T00:00:00Z")
    assert output.timestamps == ["2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"]
    assert ask(forecaster, [1.0, 2.0]).timestamps is None
    with pytest.raises(Fault, match="9999"):
        ask(forecaster, [1.0, 2.0], freq="Y", start="9998-01-01T00:00:00Z")


def test_values_may_be_a_npy_file(forecaster: Predictor) -> None:
    file = npy(np.array([1.0, np.nan, 3.0], dtype=np.float32))
    np.testing.assert_array_equal(Item.model_validate({"values": file}).values, [1.0, np.nan, 3.0])
    np.testing.assert_array_equal(Item.model_validate({"values": [1, None]}).values, [1.0, np.nan])
    for wrong in ({"npy": "!"}, npy(np.zeros((2, 2))), npy(np.array([np.inf])), {"x": 1}):
        with pytest.raises(ValidationError):
            Item.model_validate({"values": wrong})


def test_the_statistics_of_a_data_set() -> None:
    tally = SeriesTally()
    for line, row in enumerate([Row(values=[1.0, None, 1.0]), Row(values=[1.0, 2.0], freq="M", test_values=[3.0])]):
        tally.add(row, line=line, part=None)
    stats = tally.stats()
    assert (stats["series"], stats["missing"], stats["shortest"], stats["longest"]) == (2, 1, 2, 3)
    assert (stats["series_with_held_out_future"], stats["frequencies"]) == (1, {"none": 1, "M": 1})
    assert "never change" in tally.warnings()[0]
    json.dumps(stats)


def test_the_card_is_cut_along_time_and_judged_by_mase() -> None:
    assert (CARD.split_by, CARD.metric, CARD.higher_is_better) == ("time", "mase", False)
