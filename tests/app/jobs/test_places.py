"""Which device a job runs on, and whose job is next: on machines made up, and on both databases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.db.engine import Database
from app.db.repositories.jobs import Offer
from app.jobs.places import Places
from app.services.jobs import Jobs
from app.services.requests import CompareRequest, TrainRequest
from app.settings import Settings
from models.devices import Device, FakeProbe, NoRoom
from tests.app.jobs.test_parents import jobs  # noqa: F401  a fixture
from tests.app.jobs.test_queue import add, claimed, queue

GIB = 1024**3


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def device(id: str, free: int = 8) -> Device:  # noqa: A002
    kind = id.partition(":")[0]
    memory = {"memory_total": 16 * GIB, "memory_free": free * GIB}
    return Device(id=id, kind=kind, name=id, precisions=("fp32",), **memory)


TWO_GPUS = FakeProbe([device("cpu", 12), device("cuda:0"), device("cuda:1")])


def order(places: Places) -> list[str]:
    return [offer.device for offer in places.offers()]


def test_two_jobs_get_a_gpu_each_and_a_third_shares() -> None:
    places = Places("auto", probe=TWO_GPUS)
    assert order(places) == ["cuda:0", "cuda:1", "cpu"]
    places.take("one", "cuda:0", memory=0)
    assert order(places) == ["cuda:1", "cuda:0", "cpu"]
    places.take("two", "cuda:1", memory=0)
    assert order(places) == ["cuda:0", "cuda:1", "cpu"]
    places.leave("two")
    assert order(places) == ["cuda:1", "cuda:0", "cpu"]
    assert [offer.general for offer in places.offers()] == [True, True, False], "none is sent to the CPU unasked"


def test_memory_that_a_job_asked_for_is_not_offered_again() -> None:
    places = Places("cuda", probe=TWO_GPUS)
    places.take("one", "cuda:0", memory=12 * GIB)
    assert {offer.device: offer.memory // GIB for offer in places.offers()} == {"cuda:1": 8, "cuda:0": 4}


def test_the_processes_of_one_job_take_a_gpu_each() -> None:
    places = Places("auto", probe=TWO_GPUS)
    places.take("one", "cuda:1", memory=0)
    assert places.spread("one", 2) == ("cuda:1", "cuda:0")
    assert order(places)[:2] == ["cuda:0", "cuda:1"]
    with pytest.raises(NoRoom, match="3 processes need a device each"):
        places.spread("one", 3)


def test_a_worker_keeps_to_the_device_it_was_given() -> None:
    assert order(Places("cuda:1", probe=TWO_GPUS)) == Places("cuda:1", probe=TWO_GPUS).names() == ["cuda:1"]
    assert [offer.general for offer in Places("cpu", probe=TWO_GPUS).offers()] == [True]
    with pytest.raises(NoRoom, match="no device 'mps'; there are: cuda:0, cuda:1, cpu"):
        Places("mps", probe=TWO_GPUS)


def takes(database: Database, offers: list[Offer]) -> tuple[str, str] | None:
    claim = queue(database).claim(lambda: offers)
    return None if claim is None else (claim.id, claim.device)


def test_a_job_waits_for_a_worker_that_has_what_it_needs(database: Database) -> None:
    add(database, "big", needs_memory=10 * GIB)
    add(database, "gpu", needs_device="cuda")
    add(database, "second", needs_device="cuda:1")
    add(database, "cpu", needs_device="cpu")
    add(database, "any")
    small = Offer(device="cpu", kind="cpu", memory=GIB, general=True)
    gpus = [Offer(device=f"cuda:{n}", kind="cuda", memory=8 * GIB, general=True) for n in range(2)]
    beside = [*gpus, replace(small, general=False)]
    assert takes(database, []) is None
    assert takes(database, [small]) == ("cpu", "cpu")
    assert takes(database, [small]) == ("any", "cpu")
    assert takes(database, [small]) is None
    assert takes(database, beside) == ("gpu", "cuda:0")
    assert takes(database, beside) == ("second", "cuda:1")
    assert takes(database, beside) is None
    assert takes(database, [replace(gpus[0], memory=10 * GIB)]) == ("big", "cuda:0")


def test_an_idle_worker_does_not_look_at_its_devices(database: Database) -> None:
    def offers() -> list[Offer]:
        raise AssertionError("nothing waits")

    assert queue(database).claim(offers) is None


def test_what_a_request_needs_its_job_and_its_children_need(jobs: Jobs, database: Database) -> None:  # noqa: F811
    asked: dict[str, Any] = {"task": "sentiment", "dataset": "ds", "model": "m"}
    needs = {"device": "cuda", "memory": 3 * GIB}
    jobs.submit(TrainRequest.model_validate({**asked, "needs": needs}))
    jobs.submit(
        CompareRequest.model_validate({**asked, "kind": "compare", "cells": ["gru"], "seeds": 2, "needs": needs})
    )
    gpu = Offer(device="cuda:0", kind="cuda", memory=4 * GIB, general=True)
    assert takes(database, [replace(gpu, memory=2 * GIB)]) is None
    assert takes(database, [replace(gpu, device="cpu", kind="cpu")]) is None
    assert [takes(database, [gpu]) is None for _ in range(4)] == [False, False, False, True]


def claims(database: Database, count: int) -> list[str]:
    return [claimed(database).id for _ in range(count)]


def test_one_job_of_an_owner_does_not_wait_for_the_many_of_another(database: Database) -> None:
    for n in range(6):
        add(database, f"a{n}", key="a")
    add(database, "b0", key="b")
    add(database, "nobody0")
    assert claims(database, 5) == ["a0", "b0", "nobody0", "a1", "a2"]
    add(database, "b1", key="b")
    add(database, "urgent", key="a", priority=1)
    assert claims(database, 3) == ["urgent", "b1", "a3"]


def test_turns_are_counted_by_what_is_at_work_now(database: Database) -> None:
    for n in range(4):
        add(database, f"a{n}", key="a")
        add(database, f"b{n}", key="b")
    first, second = claimed(database), claimed(database)
    assert (first.id, second.id) == ("a0", "b0")
    queue(database).fail(second, {"detail": "over"})
    assert claims(database, 2) == ["b1", "a1"]
