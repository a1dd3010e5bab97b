"""What a study tries and gives up, and the table of it, from made-up trials. Knows no database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.errors import Invalid
from app.jobs.queue import Child, settled
from app.jobs.study import hopeless, importance, looks_every, suggested
from app.jobs.tuning import tuned
from app.services.children import children
from app.services.requests import TuneRequest
from models import catalog

CARD = catalog.card("sentiment")
SEARCH: dict[str, Any] = {"hidden": [8, 16, 32], "lr": {"low": 1e-4, "high": 1e-1, "log": True}}


def requests(
    search: dict[str, Any] = SEARCH, *, trials: int = 20, seed: int = 0, **config: Any
) -> list[dict[str, Any]]:
    asked = {"kind": "tune", "task": "sentiment", "dataset": "ds", "model": "m", "search": search, "trials": trials}
    return children(TuneRequest.model_validate({**asked, "seed": seed, "config": config}))


def trial(request: dict[str, Any], tried: dict[str, Any], score: float | None, **result: Any) -> Child:
    """A trial that ended with a score; without one it diverged."""
    number = request["varies"]["trial"]
    error = {"type": "diverged", "title": "Training diverged", "detail": "nan", "remedy": "a lower lr"}
    metrics = {"validation_accuracy": score, "validation_loss": 0.5}
    return Child(
        id=f"t{number}",
        state="failed" if score is None else "succeeded",
        request={**request, "varies": {**request["varies"], **tried}},
        result=None if score is None else {"metrics": metrics, "seconds": 1.5, "parameters": 9, **result},
        error=error if score is None else None,
        artifact=None if score is None else f"blob {number}",
    )


def good(tried: dict[str, Any]) -> float:
    """A score that is best at the least rate, whatever the width."""
    return 1.0 - float(tried["lr"])


def studied(trials: int, *, seed: int = 0, **more: Any) -> list[Child]:
    done: list[Child] = []
    for request in requests(trials=trials, seed=seed, **more):
        tried = suggested(CARD, request, done)
        done.append(trial(request, tried, good(tried)))
    return done


def tries(found: list[Child]) -> list[dict[str, Any]]:
    return [settled(child.request) for child in found]


def test_the_same_seed_and_order_try_the_same_and_another_seed_does_not() -> None:
    first = tries(studied(12))
    assert first == tries(studied(12))
    assert first != tries(studied(12, seed=1))
    assert all(tried["hidden"] in {8, 16, 32} and 1e-4 <= tried["lr"] <= 1e-1 for tried in first)


def test_trials_learn_from_those_before_them() -> None:
    """Drawn at random, a rate is above 0.01 once in three; a study that has seen what those come to keeps away."""
    late = [tried["lr"] for seed in range(3) for tried in tries(studied(30, seed=seed))[15:]]
    assert sum(rate > 1e-2 for rate in late) < len(late) / 9


def test_no_combination_is_tried_twice_and_there_are_no_more_trials_than_combinations() -> None:
    asked = requests({"hidden": [8, 16], "layers": [1, [8, 4]], "epochs": {"low": 3, "high": 5}}, trials=50)
    assert len(asked) == 2 * 2 * 3
    done: list[Child] = []
    for request in asked:
        done.append(trial(request, suggested(CARD, request, done), 0.5))
    found = tries(done)
    assert all(found.count(tried) == 1 for tried in found)
    with pytest.raises(Invalid, match="every combination"):
        suggested(CARD, asked[0] | {"varies": {"trial": 99}}, done)


def test_what_a_trial_under_way_tries_is_not_tried_beside_it() -> None:
    one, two = requests({"hidden": [8, 16]}, trials=2)
    under_way = Child(
        id="a",
        state="running",
        request=one | {"varies": {"trial": 0, "hidden": 8}},
        result=None,
        error=None,
        artifact=None,
    )
    assert suggested(CARD, two, [under_way]) == {"hidden": 16}
    undecided = Child(id="a", state="queued", request=one, result=None, error=None, artifact=None)
    assert suggested(CARD, two, [undecided])["hidden"] in {8, 16}


def diverged(kind: str) -> int:
    """How many of the later trials end badly where greater rates are better, until they are too great."""
    count = 0
    for seed in range(3):
        done: list[Child] = []
        for request in requests(trials=24, seed=seed):
            tried = suggested(CARD, request, done)
            made = trial(request, tried, tried["lr"] if tried["lr"] < 1e-2 else None)
            done.append(replace(made, error=made.error and made.error | {"type": kind}))
        count += sum(tried["lr"] >= 1e-2 for tried in tries(done)[12:])
    return count


def test_what_diverged_is_kept_away_from_and_a_lost_worker_tells_nothing() -> None:
    assert diverged("diverged") < diverged("worker-lost") / 2


def curves(levels: list[float], *, epochs: int = 10) -> tuple[dict[str, Any], list[Child]]:
    """A trial's request, and trials before it, each at a level of its own from the first epoch to the last."""
    asked = requests(trials=len(levels) + 1, epochs=epochs)
    done = []
    for request, level in zip(asked, levels, strict=False):
        by_epoch = {str(epoch): level for epoch in range(1, epochs + 1)}
        done.append(trial(request, suggested(CARD, request, done), level, by_epoch=by_epoch, pruned=None))
    mine = asked[len(levels)]
    return mine | {"varies": {**mine["varies"], **suggested(CARD, mine, done)}}, done


def test_a_trial_below_the_median_is_given_up_once_it_has_had_its_chance() -> None:
    mine, done = curves([0.5, 0.6, 0.7, 0.8, 0.9])
    assert hopeless(CARD, mine, done, epoch=4, best=0.75) is None
    reason = hopeless(CARD, mine, done, epoch=4, best=0.65)
    assert reason == "pruned: the best accuracy so far, 0.65, is worse than the median of the other trials"
    assert hopeless(CARD, mine, done, epoch=1, best=0.1) is None, "its first fifth"
    assert hopeless(CARD, mine, done[:1], epoch=4, best=0.1) is None, "too few have run to their ends"


def test_where_lower_is_better_the_higher_is_given_up() -> None:
    card = catalog.card("forecasting")
    mine, done = curves([0.5, 0.6, 0.7, 0.8, 0.9])
    for child in done:
        assert child.result is not None
        child.result["metrics"][f"validation_{card.metric}"] = child.result["metrics"]["validation_accuracy"]
    assert hopeless(card, mine, done, epoch=4, best=0.75) is not None
    assert hopeless(card, mine, done, epoch=4, best=0.65) is None


def test_long_trainings_are_looked_at_fifty_times() -> None:
    assert [looks_every(epochs) for epochs in (1, 50, 51, 1000)] == [1, 1, 2, 20]


def test_the_table_tells_every_trial_and_the_best_by_validation() -> None:
    asked = requests(trials=7)
    done: list[Child] = []
    for request, score in zip(asked, [0.7, 0.9, 0.8, 0.6, 0.5, None, 0.4], strict=True):
        more = {"pruned": 3} if score == 0.4 else {"pruned": None, "by_epoch": {"1": score}}
        done.append(trial(request, suggested(CARD, request, done), score, **more))
    concluded = tuned(CARD, done)
    assert concluded.artifact == "blob 1"
    assert concluded.study == concluded.result
    assert concluded.result["best"] == {
        "trial": 1, "params": settled(done[1].request), "score": 0.9, "job": "t1", "chosen_by": "validation",
    }  # fmt: skip
    rows = concluded.result["trials"]
    assert [row["state"] for row in rows] == ["succeeded"] * 5 + ["failed", "pruned"]
    assert (rows[5]["score"], rows[5]["error"]) == (None, {"type": "diverged", "detail": "nan"})
    assert (rows[6]["score"], rows[6]["pruned_after"], rows[6]["error"]) == (0.4, 3, None)
    assert (rows[0]["seconds"], rows[0]["parameters"]) == (1.5, 9)
    assert len(concluded.result["notes"]) == 3


def test_a_study_fails_only_where_every_trial_did() -> None:
    asked = requests(trials=2)
    concluded = tuned(CARD, [trial(request, {"hidden": 8, "lr": 0.05}, None) for request in asked])
    assert concluded.problem is not None
    assert concluded.problem["detail"] == "none of 2 runs succeeded; the first: nan"


def test_the_option_that_matters_is_found_and_few_trials_claim_nothing() -> None:
    done = studied(20)
    found = importance(CARD, done)
    assert found is not None
    assert found["lr"] > found["hidden"]
    assert sum(found.values()) == pytest.approx(1.0, abs=1e-3)
    assert importance(CARD, done[:3]) is None
    alike = [
        replace(child, result=child.result and child.result | {"metrics": {"validation_accuracy": 1.0}})
        for child in done
    ]
    assert importance(CARD, alike) is None
    (lead, *rest) = alike
    assert importance(CARD, [replace(lead, result={"metrics": {"validation_accuracy": 0.5}}), *rest]) is not None
