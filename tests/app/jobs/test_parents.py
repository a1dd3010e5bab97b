"""Parents and their children on both databases: nobody waits with a worker, and every stop reaches all. No training runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from app.db.engine import Database
from app.db.tables import Dataset, Job
from app.errors import Conflict, Full, Invalid
from app.jobs.queue import Claim, Lost
from app.services.jobs import Jobs, JobView
from app.services.requests import CompareRequest, TrainRequest
from app.settings import Settings
from tests.app.jobs.test_queue import claimed, expire, queue
from tests.offers import on_cpu


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, max_jobs=12)


@pytest.fixture
def jobs(database: Database, settings: Settings) -> Jobs:
    counted: dict[str, Any] = {"rows": 1, "bytes": 1, "splits": {"train": 1}, "stats": {}, "warnings": []}
    with database.write() as session:
        made = Dataset(
            id="ds", name="ds", task="sentiment", digest="", blob="", created_at=database.now(session), **counted
        )
        session.add(made)
    return Jobs(database, settings=settings)


def compare(jobs: Jobs, *, cells: tuple[str, ...] = ("lstm", "gru"), seeds: int = 2, **config: Any) -> JobView:
    request = {"kind": "compare", "task": "sentiment", "dataset": "ds", "model": "m", "cells": cells, "seeds": seeds}
    return jobs.submit(CompareRequest.model_validate({**request, "config": config}))


def take(database: Database) -> Claim:
    with database.write() as session:
        session.execute(update(Job).values(not_before=None))
    return claimed(database)


def end(database: Database, claim: Claim) -> None:
    queue(database).succeed(claim, lambda _: {"metrics": {}}, artifact=f"blob of {claim.id}")


def states(jobs: Jobs, id: str) -> list[str]:  # noqa: A002
    return [child.state for child in jobs.get(id).children]


def moves(jobs: Jobs, id: str) -> list[str]:  # noqa: A002
    return [move.state for move in jobs.get(id).transitions]


def test_children_share_all_but_what_varies_and_are_listed_under_their_parent(jobs: Jobs) -> None:
    parent = compare(jobs, seeds=2, epochs=7, seed=3, hidden=9)
    assert (parent.state, parent.parent, parent.progress.fraction) == ("queued", None, 0.0)
    asked = [{"cell": cell, "seed": seed} for seed in (3, 4) for cell in ("lstm", "gru")]
    assert [child.varies for child in parent.children] == asked
    configs = [jobs.get(child.id).request["config"] for child in parent.children]
    assert [{"cell": config.pop("cell"), "seed": config.pop("seed")} for config in configs] == asked
    assert all(config == configs[0] for config in configs)
    assert (configs[0]["epochs"], configs[0]["patience"], configs[0]["hidden"]) == (7, 7, 9), "patience is off"

    def listed(**filters: str) -> list[str]:
        return [job.id for job in jobs.list(filters=filters, page_size=50, page_token="").items]

    assert listed() == listed(kind="compare") == [parent.id]
    assert listed(kind="train") == []
    assert listed(parent=parent.id) == [child.id for child in reversed(parent.children)]
    assert jobs.get(parent.children[0].id).parent == parent.id


def test_a_patience_that_was_asked_for_is_the_same_for_all(jobs: Jobs) -> None:
    parent = compare(jobs, patience=2)
    assert {jobs.get(child.id).request["config"]["patience"] for child in parent.children} == {2}


def test_one_worker_runs_the_children_and_then_the_parent(database: Database, jobs: Jobs) -> None:
    parent = compare(jobs, seeds=1)
    lone = jobs.submit(TrainRequest(task="sentiment", dataset="ds", model="other"))
    first = take(database)
    assert (first.parent, first.request["varies"]) == (parent.id, {"cell": "lstm", "seed": 0})
    view = jobs.get(parent.id)
    assert (view.state, view.worker, moves(jobs, parent.id)) == ("running", None, ["queued", "running"])
    assert queue(database).reap() == 0, "a parent that waits has no lease to lose"
    queue(database).tell(first, "progress", {"fraction": 0.5})
    assert jobs.get(parent.id).progress.fraction == 0.25
    end(database, first)
    assert jobs.get(parent.id).progress.fraction == 0.5
    end(database, take(database))
    claim = take(database)
    assert (claim.id, claim.kind, claim.attempt) == (parent.id, "compare", 1), "before what was submitted later"
    found = queue(database).children(claim)
    assert [child.artifact for child in found] == [f"blob of {child.id}" for child in found]
    assert queue(database).spent() == {}, "nothing was chosen yet"
    queue(database).succeed(claim, lambda _: {"table": []})
    assert moves(jobs, parent.id) == ["queued", "running", "queued", "running", "succeeded"]
    assert queue(database).spent() == {child.id: child.artifact for child in found}
    queue(database).let_go({found[0].id})
    assert queue(database).spent() == {found[1].id: found[1].artifact}
    assert take(database).id == lone.id
    texts = [event.data["text"] for event in jobs.events(parent.id, kinds=["log"])]
    assert texts == [
        f"cell {cell}, seed 0: succeeded ({child.id})" for cell, child in zip(("lstm", "gru"), found, strict=True)
    ]


def test_children_that_end_at_once_release_their_parent_once(database: Database, jobs: Jobs) -> None:
    parent = compare(jobs, cells=("lstm", "gru", "rnn"), seeds=4)
    claims = [take(database) for _ in range(12)]
    threads = [threading.Thread(target=end, args=(database, claim)) for claim in claims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert moves(jobs, parent.id) == ["queued", "running", "queued"]
    assert take(database).id == parent.id
    assert queue(database).claim(on_cpu) is None


def test_steering_while_children_end_never_locks_up(database: Database, jobs: Jobs) -> None:
    """Both orders of locks at once, many times: on Postgres a deadlock would be an error."""
    parent = compare(jobs, seeds=6)
    faults: list[Exception] = []
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            claim = queue(database).claim(on_cpu)
            if claim is None or claim.id == parent.id:
                time.sleep(0.001)
            elif queue(database).heartbeat(claim) == "running":
                end(database, claim)
            else:
                queue(database).stopped(claim)

    def steer() -> None:
        for verb in ("pause", "resume") * 8:
            with suppress(Conflict):
                getattr(jobs, verb)(parent.id)
        over.set()

    def watched(call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            faults.append(error)
            over.set()

    threads = [threading.Thread(target=watched, args=(call,)) for call in (work, work, work, steer)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_pause_and_resume_reach_every_child(database: Database, jobs: Jobs) -> None:
    parent = compare(jobs).id
    end(database, take(database))
    claim = take(database)
    assert jobs.pause(parent).state == "pausing"
    assert states(jobs, parent) == ["succeeded", "pausing", "paused", "paused"]
    assert queue(database).claim(on_cpu) is None
    queue(database).stopped(claim)
    assert jobs.get(parent).state == "paused"
    assert jobs.resume(parent).state == "queued"
    assert states(jobs, parent) == ["succeeded", "queued", "queued", "queued"]
    for _ in range(3):
        end(database, take(database))
    assert take(database).id == parent


def test_a_parent_that_was_to_pause_when_its_last_child_ended_is_paused(database: Database, jobs: Jobs) -> None:
    parent = compare(jobs, cells=("lstm",), seeds=1).id
    claim = take(database)
    jobs.pause(parent)
    end(database, claim)
    assert jobs.get(parent).state == "paused"
    assert jobs.resume(parent).state == "queued"
    assert take(database).id == parent


def test_cancel_reaches_every_child_and_what_was_done_is_kept_for_a_resume(database: Database, jobs: Jobs) -> None:
    parent = compare(jobs).id
    end(database, take(database))
    take(database)
    assert jobs.cancel(parent).state == "cancelling"
    assert states(jobs, parent) == ["succeeded", "cancelling", "cancelled", "cancelled"]
    expire(database)
    queue(database).reap()  # its worker was lost
    assert moves(jobs, parent)[-2:] == ["cancelling", "cancelled"]
    assert queue(database).spent() == {}
    assert jobs.resume(parent).state == "queued"
    assert states(jobs, parent) == ["succeeded", "queued", "queued", "queued"]
    assert jobs.cancel(parent).state == "cancelled", "nothing ran: there is nothing to wait for"
    kept = jobs.get(parent).children[0].id
    assert jobs.delete(parent) == [f"blob of {kept}"]
    assert jobs.list(filters={"parent": parent}, page_size=5, page_token="").items == []


def test_failed_children_run_again_when_their_parent_is_retried(database: Database, jobs: Jobs) -> None:
    parent = compare(jobs, seeds=1).id
    queue(database).fail(take(database), {"type": "diverged", "detail": "the loss became nan"})
    end(database, take(database))
    assert [event.data["level"] for event in jobs.events(parent, kinds=["log"])] == ["warning", "info"]
    queue(database).fail(take(database), {"detail": "no"})
    assert jobs.retry(parent).state == "queued"
    assert states(jobs, parent) == ["queued", "succeeded"]
    end(database, take(database))
    assert take(database).id == parent


def test_a_worker_lost_while_it_draws_up_the_table_is_replaced(database: Database, jobs: Jobs) -> None:
    parent = compare(jobs, cells=("lstm",), seeds=1).id
    end(database, take(database))
    zombie = take(database)
    assert zombie.id == parent
    expire(database)
    assert queue(database).reap() == 1
    again = take(database)
    assert (again.id, again.attempt) == (parent, 2)
    with pytest.raises(Lost):
        queue(database).succeed(zombie, lambda _: {})
    queue(database).succeed(again, lambda _: {})


def test_a_child_is_steered_by_its_parent_alone(jobs: Jobs) -> None:
    child = compare(jobs).children[0].id
    for verb in ("cancel", "pause", "resume", "retry", "delete"):
        with pytest.raises(Conflict, match="is a part of job_"):
            getattr(jobs, verb)(child)


def test_a_comparison_needs_room_for_all_its_children(database: Database, jobs: Jobs) -> None:
    with pytest.raises(Full, match="there is room for 12: this one needs 14"):
        compare(jobs, seeds=7)
    assert jobs.list(filters={}, page_size=5, page_token="").items == []


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"seeds": 50, "cells": ("lstm", "gru", "rnn")}, "/seeds"),
        ({"cell": "gru"}, "/config/cell"),
        ({"hidden": 0}, "/config/hidden"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_its_place(jobs: Jobs, change: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Invalid) as found:
        compare(jobs, **change)
    assert [flaw.pointer for flaw in found.value.errors] == [pointer]
