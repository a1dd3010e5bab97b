"""Trials as jobs, on both databases: each settles once what it tries, and no two on the same. No training runs."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from app.db.engine import Database
from app.errors import Invalid
from app.jobs.queue import Claim, Lost, settled
from app.services.jobs import Jobs, JobView
from app.services.requests import TuneRequest
from app.settings import Settings
from tests.app.jobs.test_parents import jobs, take  # noqa: F401  a fixture
from tests.app.jobs.test_queue import expire, queue

SEARCH: dict[str, Any] = {"hidden": [8, 16], "lr": {"low": 1e-4, "high": 1e-2, "log": True}}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, max_jobs=12)


def tune(jobs: Jobs, search: dict[str, Any] = SEARCH, *, trials: int = 4, **config: Any) -> JobView:  # noqa: F811
    asked = {"kind": "tune", "task": "sentiment", "dataset": "ds", "model": "m", "search": search, "trials": trials}
    return jobs.submit(TuneRequest.model_validate({**asked, "config": config}))


def settle(database: Database, claim: Claim, **tried: Any) -> bool:
    request = claim.request
    return queue(database).decide(claim, {**request, "varies": {**request["varies"], **tried}})


def test_a_study_is_a_parent_whose_children_know_their_number_alone(jobs: Jobs) -> None:  # noqa: F811
    parent = tune(jobs, epochs=3)
    assert (parent.kind, parent.state) == ("tune", "queued")
    assert [child.varies for child in parent.children] == [{"trial": number} for number in range(4)]
    request = jobs.get(parent.children[1].id).request
    assert request["config"]["epochs"] == 3
    assert request["study"] == {
        "search": {
            "hidden": {"choices": [8, 16]},
            "lr": {"low": 1e-4, "high": 1e-2, "log": True, "whole": False},
        },
        "seed": 0,
        "trials": 4,
    }


def test_what_a_trial_tries_is_settled_once_and_survives_its_worker(database: Database, jobs: Jobs) -> None:  # noqa: F811
    parent = tune(jobs)
    zombie = take(database)
    assert settle(database, zombie, hidden=8, lr=0.001)
    assert jobs.get(parent.id).children[0].varies == {"trial": 0, "hidden": 8, "lr": 0.001}
    expire(database)
    queue(database).reap()
    again = take(database)
    assert (again.id, settled(again.request)) == (zombie.id, {"hidden": 8, "lr": 0.001})
    with pytest.raises(Lost):
        settle(database, zombie, hidden=16, lr=0.01)


def test_no_two_trials_settle_on_the_same(database: Database, jobs: Jobs) -> None:  # noqa: F811
    tune(jobs)
    one, two = take(database), take(database)
    assert settle(database, one, hidden=8, lr=0.001)
    assert not settle(database, two, hidden=8, lr=0.001)
    assert settled(queue(database).siblings(one)[0].request) == {}, "nothing was written"
    assert settle(database, two, hidden=16, lr=0.001)
    assert settled(queue(database).siblings(two)[0].request) == {"hidden": 8, "lr": 0.001}


def test_of_trials_that_settle_at_once_one_has_its_way(database: Database, jobs: Jobs) -> None:  # noqa: F811
    tune(jobs)
    claims, won = [take(database) for _ in range(4)], []
    threads = [
        threading.Thread(target=lambda claim=claim: won.append(settle(database, claim, hidden=8, lr=0.001)))
        for claim in claims
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False, False, False, True]


def test_a_parent_tells_of_a_trial_that_was_given_up(database: Database, jobs: Jobs) -> None:  # noqa: F811
    parent = tune(jobs, trials=1)
    claim = take(database)
    settle(database, claim, hidden=8, lr=0.001)
    queue(database).succeed(claim, lambda _: {"metrics": {}, "pruned": 2}, artifact="blob")
    (said,) = jobs.events(parent.id, kinds=["log"])
    assert said.data["text"] == f"trial 0, hidden 8, lr 0.001: pruned after epoch 2 ({claim.id})"
    assert take(database).kind == "tune"


def test_a_retried_trial_tries_what_it_tried(database: Database, jobs: Jobs) -> None:  # noqa: F811
    parent = tune(jobs, trials=1)
    claim = take(database)
    settle(database, claim, hidden=8, lr=0.001)
    queue(database).fail(claim, {"type": "out-of-memory", "detail": "no room"})
    queue(database).fail(take(database), {"detail": "none"})
    jobs.retry(parent.id)
    assert settled(take(database).request) == {"hidden": 8, "lr": 0.001}


@pytest.mark.parametrize(
    ("change", "pointer", "says"),
    [
        ({"widht": [1]}, "/search/widht", "has no option 'widht'; it has: "),
        ({"a/b": [1]}, "/search/a~1b", "has no option"),
        ({"seed": [1, 2]}, "/search/seed", "`compare` holds seeds"),
        ({"hidden": [8, 0]}, "/search/hidden/1", "at least 1 is expected, not 0"),
        ({"hidden": [8, 16, 8]}, "/search/hidden/2", "8 stands twice"),
        ({"cell": ["lstm", "transformer"]}, "/search/cell/1", "is expected, not 'transformer'"),
        ({"cell": {"low": 1, "high": 2}}, "/search/cell", "is no number: give a list of choices"),
        ({"hidden": {"low": 8.5, "high": 16}}, "/search/hidden/low", "is a whole number, and 8.5 is none"),
        ({"hidden": {"low": 8, "high": 9999}}, "/search/hidden/high", "at most 2048 is expected, not 9999"),
        ({"lr": {"low": 0.1, "high": 0.01}}, "/search/lr/high", "ends at 0.01, which is not above its start 0.1"),
        ({"lr": {"low": -1, "high": 0.01}}, "/search/lr/low", "more than 0 is expected, not -1"),
        ({"dropout": {"low": 0, "high": 0.5, "log": True}}, "/search/dropout/low", "begin above 0"),
        ({"epochs": [1, 2]}, "/config/epochs", "leave it out of `config`"),
        ({"vectors": [None, "glove"]}, "/search/vectors/1", "no word vectors 'glove'"),
    ],
)
def test_a_search_that_cannot_be_is_refused_with_its_place(
    jobs: Jobs,  # noqa: F811
    change: dict[str, Any],
    pointer: str,
    says: str,
) -> None:
    with pytest.raises(Invalid) as found:
        tune(jobs, SEARCH | change, epochs=2)
    assert [flaw.pointer for flaw in found.value.errors] == [pointer]
    assert says in found.value.errors[0].detail
    assert jobs.list(filters={}, page_size=5, page_token="").items == []
