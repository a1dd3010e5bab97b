"""Live events of jobs: the database is asked once for all who follow a job. Knows time and events; no HTTP, no table.

On Postgres a look follows a notice at once; on SQLite, and where notices do not come, a clock.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.db.notices import Unheard, heard
from app.errors import NotFound
from app.services.jobs import EventView, Jobs

log = structlog.get_logger("cellgate.feeds")

LOOK_EVERY = 0.3
"""Seconds between two looks for new events where nothing tells of them."""
LOOK_NOTIFIED = 5.0
"""The same where notices come: in case one was lost."""
AT_ONCE = 500
"""Events of one look."""
KEPT = 2000
"""Events of a job that are held for those who follow it; who is further behind asks the database."""
AGAIN = 2.0
"""Seconds before a lost connection for notices is made anew."""
ENDED = {"succeeded", "failed", "cancelled"}


class Feed:
    """One job, as long as anybody follows it."""

    def __init__(self, look: Callable[[int], tuple[Sequence[EventView], bool]], after: int) -> None:
        self.look, self.last = look, after
        self.floor = after
        """Events up to this one are not held."""
        self.events: deque[EventView] = deque()
        self.ended = False
        self.followers = 0
        self.poked = asyncio.Event()
        self.changed = asyncio.Event()

    async def refresh(self) -> None:
        """One look; wakes the followers where there is something new."""
        found, ended = await asyncio.to_thread(self.look, self.last)
        for event in found:
            self.events.append(event)
            self.last = event.id
        while len(self.events) > KEPT:
            self.floor = self.events.popleft().id
        if ended and len(found) < AT_ONCE:
            self.end()
        elif found:
            self._wake()

    def end(self) -> None:
        """Nothing more will come."""
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def since(self, after: int) -> list[EventView]:
        """What is held of the events after one."""
        return [event for event in self.events if event.id > after]


class Feeds:
    """Every job that is followed now. Belongs to one event loop."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self._feeds: dict[str, Feed] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._listening: asyncio.Task[None] | None = None
        self._notified = False

    async def follow(self, job: str, *, after: int, silence: float) -> AsyncIterator[list[EventView]]:
        """The events after one, in order and without a gap, until the job's last; an empty list each `silence` seconds.

        The job is known to exist; where it is deleted meanwhile, that was its last.
        """
        feed = self._enter(job, after)
        try:
            while True:
                ended, changed = feed.ended, feed.changed
                found = await self._behind(job, after) if after < feed.floor else feed.since(after)
                if found:
                    after = found[-1].id
                    yield found
                    continue
                if ended:
                    return
                try:
                    await asyncio.wait_for(changed.wait(), silence)
                except TimeoutError:
                    yield []
        finally:
            self._leave(job, feed)

    async def _behind(self, job: str, after: int) -> list[EventView]:
        with contextlib.suppress(NotFound):  # deleted: nothing is held any more
            return list(await asyncio.to_thread(self.jobs.events, job, after=after, limit=AT_ONCE))
        return []

    def _enter(self, job: str, after: int) -> Feed:
        if job not in self._feeds:

            def look(last: int) -> tuple[Sequence[EventView], bool]:
                try:
                    # Asked first: what an ended job did is then among the events that follow.
                    ended = self.jobs.get(job).state in ENDED
                    return self.jobs.events(job, after=last, limit=AT_ONCE), ended
                except NotFound:
                    return [], True  # deleted: nothing follows

            self._feeds[job] = Feed(look, after)
            self._tasks[job] = asyncio.create_task(self._watch(self._feeds[job]))
        if self._listening is None and not self.jobs.database.sqlite:
            self._listening = asyncio.create_task(self._listen())
        feed = self._feeds[job]
        feed.followers += 1
        return feed

    def _leave(self, job: str, feed: Feed) -> None:
        feed.followers -= 1
        if not feed.followers and self._feeds.get(job) is feed:
            del self._feeds[job]
            self._tasks.pop(job).cancel()

    async def _watch(self, feed: Feed) -> None:
        try:
            while not feed.ended:
                feed.poked.clear()
                before = feed.last
                try:
                    await feed.refresh()
                except SQLAlchemyError as error:
                    # A database that is away for a while ends no follower: the feed stands at its last event, so the
                    # next look, at most LOOK_EVERY or LOOK_NOTIFIED later, finds all that came meanwhile.
                    log.warning("events cannot be looked for now", error=type(error).__name__)
                if feed.last == before and not feed.ended:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(feed.poked.wait(), LOOK_NOTIFIED if self._notified else LOOK_EVERY)
        finally:
            feed.end()  # nobody waits for a look that will not come

    async def _listen(self) -> None:
        """Poke the feed of each job that Postgres speaks of."""
        while True:
            try:
                async for job in heard(str(self.jobs.database.url)):
                    self._notified = True
                    if job in self._feeds:
                        self._feeds[job].poked.set()
            except Unheard as error:
                log.warning("no notices from the database", error=str(error))
            self._notified = False
            await asyncio.sleep(AGAIN)

    async def close(self) -> None:
        """Follow nothing any more."""
        tasks = [*self._tasks.values(), *([self._listening] if self._listening else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
