"""Who follows a job gets every event once, in order, however many follow; and the database is asked once for all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from app.db.engine import Database
from app.db.repositories.jobs import JobRepository
from app.jobs.queue import Claim, Queue
from app.services import feeds
from app.services.feeds import Feeds
from app.services.jobs import Jobs
from app.settings import Settings
from tests.app.jobs.test_queue import add
from tests.offers import on_cpu

FOLLOWERS, EVENTS = 200, 60


@pytest.fixture
def jobs(database: Database, tmp_path: Path) -> Jobs:
    return Jobs(database, settings=Settings(home=tmp_path))


@pytest.fixture
def claim(database: Database) -> Claim:
    add(database, "job")
    found = queue(database).claim(on_cpu)
    assert found is not None
    return found


def queue(database: Database) -> Queue:
    return Queue(database, worker="one", lease_seconds=60)


def spoken(database: Database, claim: Claim, number: int) -> None:
    queue(database).tell(claim, "log", {"level": "info", "text": f"line {number}"})


async def followed(hub: Feeds, *, after: int = 0) -> list[int]:
    return [event.id async for found in hub.follow("job", after=after, silence=5) for event in found]


def test_every_follower_gets_every_event_once(
    jobs: Jobs, database: Database, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "KEPT", 20)  # those who join late, or are slow, are behind what is held
    asked = 0
    plain: Callable[..., object] = jobs.events

    def counted(*arguments: object, **named: object) -> object:
        nonlocal asked
        asked += 1
        return plain(*arguments, **named)

    monkeypatch.setattr(jobs, "events", counted)

    async def run() -> list[list[int]]:
        hub = Feeds(jobs)
        first = [asyncio.create_task(followed(hub)) for _ in range(FOLLOWERS // 2)]
        await asyncio.sleep(0.1)
        for number in range(EVENTS):
            await asyncio.to_thread(spoken, database, claim, number)
        rest = [asyncio.create_task(followed(hub)) for _ in range(FOLLOWERS // 2)]
        await asyncio.to_thread(queue(database).succeed, claim, lambda _: {})
        found = await asyncio.wait_for(asyncio.gather(*first, *rest), 60)
        await hub.close()
        return found

    found = asyncio.run(run())
    every = [event.id for event in plain("job")]  # type: ignore[attr-defined]
    assert len(every) == EVENTS + 3
    assert all(ids == every for ids in found)
    assert asked < 2 * FOLLOWERS


def test_a_follower_goes_on_where_it_was_and_an_ended_job_ends(jobs: Jobs, database: Database, claim: Claim) -> None:
    for number in range(5):
        spoken(database, claim, number)
    queue(database).succeed(claim, lambda _: {})
    every = [event.id for event in jobs.events("job")]

    async def run() -> list[list[int]]:
        hub = Feeds(jobs)
        return [await followed(hub, after=after) for after in (0, every[2], every[-1], every[-1] + 9)]

    assert asyncio.run(run()) == [every, every[3:], [], []]


def test_a_silent_job_gives_a_sign_of_life(jobs: Jobs, claim: Claim) -> None:
    async def run() -> list[int]:
        following = Feeds(jobs).follow("job", after=jobs.events("job")[-1].id, silence=0.05)
        return [len(await anext(following)) for _ in range(3)]

    assert asyncio.run(run()) == [0, 0, 0]


def test_a_job_that_is_deleted_ends_for_all_who_follow_it(
    jobs: Jobs, database: Database, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "KEPT", 1)  # so that who joins late asks the database

    async def run() -> list[list[int]]:
        hub = Feeds(jobs)
        first = hub.follow("job", after=0, silence=60)
        before = [event.id for event in await anext(first)]
        with database.write() as session:
            JobRepository(session).delete("job")
        late = await asyncio.wait_for(followed(hub), 20)
        rest = [event.id async for found in first for event in found]
        await hub.close()
        return [before, late, rest]

    before, late, rest = asyncio.run(run())
    assert len(before) == 2
    assert late == rest == []


def test_a_database_that_is_away_ends_nothing(
    jobs: Jobs, database: Database, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = jobs.get
    looks = iter([OperationalError("SELECT 1", {}, OSError("away"))] * 2)

    def get(id: str) -> object:  # noqa: A002
        for error in looks:
            raise error
        return plain(id)

    monkeypatch.setattr(jobs, "get", get)
    queue(database).succeed(claim, lambda _: {})

    async def run() -> list[int]:
        return await asyncio.wait_for(followed(Feeds(jobs)), 20)

    assert asyncio.run(run()) == [event.id for event in jobs.events("job")]
    assert next(looks, None) is None


@pytest.mark.parametrize("database_url", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
def test_postgres_tells_at_once(jobs: Jobs, database: Database, claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "LOOK_NOTIFIED", 60.0)

    async def run() -> float:
        hub = Feeds(jobs)
        following = hub.follow("job", after=0, silence=30)
        await anext(following)
        waiting = asyncio.create_task(anext(following))
        await asyncio.sleep(1.0)  # until it listens
        await asyncio.to_thread(spoken, database, claim, 0)
        await waiting  # from here on it counts on notices
        waiting = asyncio.create_task(anext(following))
        await asyncio.sleep(0.5)
        began = time.monotonic()
        await asyncio.to_thread(spoken, database, claim, 1)
        found = await asyncio.wait_for(waiting, 20)
        await following.aclose()
        await hub.close()
        assert found[0].data["text"] == "line 1"
        return time.monotonic() - began

    assert asyncio.run(run()) < 5.0
