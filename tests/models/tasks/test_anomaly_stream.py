"""A series judged step by step: the scores, flags and alarms of the whole, whatever is missing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from models.predictor import Predictor
from models.task import Fault
from models.tasks.anomaly.schema import AnomalyParams, Row, Step
from tests.models.tasks.test_anomaly import ask, learnt, of_sines
from tests.models.tasks.waves import sine
from tests.stepping import PIECES, assert_close, assert_forks, plain, stepped, together

SMALL = {"epochs": 2, "hidden": 8, "ahead": [1, 8, 20]}
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
EAGER = AnomalyParams(sensitivity=0.999, merge=3)


def pairs(seed: int) -> np.ndarray:
    return np.stack([sine(seed)[:180], 5 * sine(seed + 1)[:180]], axis=1)


def series(kind: str) -> list[Any]:
    values = pairs(7).tolist() if kind == "pairs" else sine(7)[:180].tolist()
    if kind == "pairs":
        for step in range(40):  # the second feature begins late
            values[step][1] = None
        values[120] = [9.0, None]
        return values
    values[90] += 4.0
    if kind == "gapped":
        values[:30] = [None] * 30
        values[60:70] = [None] * 10
    return values


@pytest.fixture(scope="module", params=["own", "shared", "pairs", "single"])
def judge(request: pytest.FixtureRequest) -> tuple[Predictor, str]:
    if request.param == "pairs":
        rows, changed = [Row(values=pairs(seed)) for seed in range(3)], {"scaling": "series"}
    else:
        rows = [Row(values=sine(seed)) for seed in range(3)]
        changed = {"scaling": "shared" if request.param == "shared" else "series"}
    more = {"smoothing": 0.0, "cell": "gru", "layers": [8, 6]} if request.param == "single" else {}
    return learnt(rows, **SMALL, **changed, **more), request.param


@pytest.mark.parametrize("kind", ["whole", "gapped"])
def test_each_step_is_judged_as_in_the_whole_series(judge: tuple[Predictor, str], kind: str) -> None:
    predictor, name = judge
    values = series("pairs" if name == "pairs" else kind)
    whole = ask(predictor, values, EAGER)
    began = {event.start for event in whole.events}
    for size in PIECES:
        found = stepped(predictor, values, size, params=EAGER)[0]
        assert_close([each.score for each in found], whole.scores)
        assert [each.is_anomaly for each in found] == whole.is_anomaly
        assert {each.event for each in found if each.is_anomaly} == began
        assert all(each.event is None for each in found if not each.is_anomaly)
        for trace in ("expected", "lower", "upper"):
            told, said = ([getattr(each, trace) for each in found], getattr(whole, trace))
            known = ~np.isnan(np.array(told, dtype=float))
            assert known.mean() > 0.8
            assert_close(np.array(told, dtype=float)[known].tolist(), np.array(said)[known].tolist())
        assert found[-1].threshold == whole.threshold
    assert began


def test_every_prefix_is_judged_alike(judge: tuple[Predictor, str]) -> None:
    predictor, name = judge
    values = series("pairs" if name == "pairs" else "whole")
    found = [each.score for each in stepped(predictor, values, 7)[0]]
    for count in (1, 5, 9, 30, 100):
        assert_close(ask(predictor, values[:count]).scores, found[:count])


def test_times_are_read(judge: tuple[Predictor, str]) -> None:
    predictor, name = judge
    if name == "pairs":
        return
    values, times = series("whole"), [NOON + timedelta(hours=step) for step in range(180)]
    steps = [{"value": value, "timestamp": time} for value, time in zip(values, times, strict=True)]
    whole = ask(predictor, values, timestamps=times).scores
    assert_close([each.score for each in stepped(predictor, steps, 11)[0]], whole)
    assert whole != ask(predictor, values).scores
    with pytest.raises(Fault, match="the steps before have timestamps") as caught:
        stepped(predictor, [*steps[:4], 3.0], 2)
    assert caught.value.at == (0, "timestamp")


def test_several_series_in_one_batch_answer_as_each_alone(judge: tuple[Predictor, str]) -> None:
    predictor, name = judge
    values = series("pairs" if name == "pairs" else "gapped")
    chosen = [values[:9], values[25:120], values]
    for found, each in zip(together(predictor, chosen), chosen, strict=True):
        assert_close(plain(found), plain(stepped(predictor, each, 1000)[0]))


def test_a_fork_goes_on_by_itself(judge: tuple[Predictor, str]) -> None:
    predictor, name = judge
    assert_forks(predictor, series("pairs" if name == "pairs" else "whole"))


def test_what_is_kept_does_not_grow(judge: tuple[Predictor, str]) -> None:
    predictor, name = judge
    values = series("pairs" if name == "pairs" else "whole")
    sizes = [sum(array.nbytes for array in stepped(predictor, values * times, 180)[1].values()) for times in (1, 3)]
    assert sizes[0] == sizes[1]


def test_steps_of_another_width_are_refused_at_their_place() -> None:
    with pytest.raises(Fault, match="2 numbers in a step; this model reads 1") as caught:
        stepped(of_sines("predictor"), [1.0, [1.0, 2.0]], 1000)
    assert caught.value.at == (1, "values")
    assert stepped(of_sines("predictor"), [[1.0]], 1)[0][0].expected == [1.0]


def test_an_autoencoder_is_refused_with_the_reason() -> None:
    assert str(of_sines("autoencoder").stepper()).startswith("an autoencoder judges a step by windows that reach")


@pytest.mark.parametrize("wrong", [{}, {"value": 1, "values": [1]}, "x", [[1]], [], [1, "x"], float("nan"), 1e16])
def test_what_is_no_step_is_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        Step.model_validate(wrong)
