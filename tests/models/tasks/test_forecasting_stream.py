"""Forecasting value by value: after each the answer of the whole series so far, whatever is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.predictor import Predictor
from models.task import Fault
from models.tasks.forecasting.schema import ForecastingConfig, ForecastingParams
from tests.models.tasks.test_forecasting import MANY, SMALL, ask, learnt, rows, seasonal
from tests.stepping import PIECES, assert_close, assert_forks, plain, stepped, stepper, together

DATED = {"freq": "M", "start": "2024-01-31T00:00:00Z"}


@pytest.fixture(scope="module")
def forecaster() -> Predictor:
    return learnt(rows(), ForecastingConfig(**{**SMALL.model_dump(), "look_back": 6, "horizon": 4}))


def gapped(kind: str) -> list[float | None]:
    """More values than are kept (8 seasons of 12), with something missing."""
    values: list[float | None] = list(seasonal(3, n=130))
    if kind == "leading":
        values[:5] = [None] * 5
    elif kind == "often":
        values[::7] = [None] * len(values[::7])
    elif kind == "long":
        values[20:31] = [None] * 11
    elif kind == "endless":
        values[10:125] = [None] * 115
    return values


@pytest.mark.parametrize("kind", ["whole", "leading", "often", "long", "endless"])
def test_each_answer_is_that_of_the_whole_series_so_far(forecaster: Predictor, kind: str) -> None:
    values = gapped(kind)
    many = {size: plain(stepped(forecaster, values, size, item=DATED, params=MANY)[0]) for size in PIECES}
    for size in PIECES[1:]:
        assert_close(many[size], many[1])
    for count in (1, 2, 5, 6, 14, 27, 40, 120, 130):
        known = any(value is not None for value in values[:count])
        whole = ask(forecaster, values[:count], **DATED).model_dump() if known else None
        assert_close(many[1][count - 1], whole)


def test_a_season_is_kept_in_step_through_a_gap_longer_than_what_is_kept(forecaster: Predictor) -> None:
    for missing in (90, 97, 109, 200):
        values: list[Any] = [*seasonal(1, n=30), *[None] * missing]
        found, memory = stepped(forecaster, values, 7, item=DATED)
        assert_close(found[-1].model_dump(), ask(forecaster, values, ForecastingParams(), **DATED).model_dump())
        assert sum(array.nbytes for array in memory.values()) <= 8 * (8 * 12 + 2)
        further = [*values, *seasonal(2, n=3)]
        found, _ = stepped(forecaster, further[-3:], 2, memory=memory, item=DATED)
        assert_close(found[-1].model_dump(), ask(forecaster, further, ForecastingParams(), **DATED).model_dump())


def test_several_series_in_one_batch_answer_as_each_alone(forecaster: Predictor) -> None:
    series = [seasonal(1, n=9), [None, *seasonal(2, n=4)], seasonal(3, n=30)]
    for found, values in zip(together(forecaster, series), series, strict=True):
        assert_close(plain(found), plain(stepped(forecaster, values, 1000)[0]))


def test_a_fork_goes_on_by_itself(forecaster: Predictor) -> None:
    assert_forks(forecaster, seasonal(1, n=30))


def test_a_value_may_be_named(forecaster: Predictor) -> None:
    bare, named = [3.0, None, 4.0], [{"value": 3.0}, {"value": None}, {"value": 4.0}]
    assert_close(plain(stepped(forecaster, named, 1)[0]), plain(stepped(forecaster, bare, 1)[0]))


def test_more_than_was_learnt_is_refused_at_the_start(forecaster: Predictor) -> None:
    with pytest.raises(Fault, match="a horizon of 5 is beyond the 4 steps"):
        stepper(forecaster).check(ForecastingParams(horizon=5))


def test_times_that_no_calendar_has_are_refused_at_their_step(forecaster: Predictor) -> None:
    item = {"freq": "Y", "start": "9990-01-01T00:00:00Z"}
    with pytest.raises(Fault, match="beyond the year 9999") as caught:
        stepped(forecaster, [float(n) for n in range(9)], 1000, item=item)
    assert caught.value.at == (6,)


def test_one_that_reads_in_both_directions_is_refused() -> None:
    both = learnt(rows(), ForecastingConfig(**{**SMALL.model_dump(), "bidirectional": True, "epochs": 1}))
    assert both.stepper() == "it reads in both directions, and so needs the whole sequence at once"


def test_what_is_kept_does_not_grow(forecaster: Predictor) -> None:
    values = np.random.default_rng(0).normal(size=1000).tolist()
    _, memory = stepped(forecaster, values, 250)
    assert sum(array.nbytes for array in memory.values()) <= 8 * (8 + 2)
