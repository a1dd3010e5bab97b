"""Decides which versions are in memory, and swaps them. Knows references and folders, no task.

The predict path touches no database: a background look each half second learns where the aliases
point, loads what is new, checks it by a probe, and only then lets it answer; the old one drains.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import structlog

from app import allocator
from app.blobs import Blobs
from app.errors import CellgateError, Conflict, Full, NotFound
from app.services.promotion import PRODUCTION
from app.services.registry import Pointers, Reference, Registry, VersionView
from app.serving import calibrated
from app.serving.batcher import Batcher, Model
from app.serving.deadline import by
from app.serving.keeping import Keeping
from app.serving.placing import Copy, Placing, Replicas, most
from app.serving.served import Served, Stepping
from app.serving.streams import Streams
from app.serving.unpacked import Unpacked
from app.settings import Settings
from models.artifact import ArtifactError
from models.devices import NoRoom

log = structlog.get_logger("cellgate.serving")

LOOK_EVERY = 0.5
"""Seconds between two looks at the aliases."""
TRIM_EVERY = 2.0
"""Seconds between givings back of memory, which hold other threads' allocations up for a millisecond."""
RETRY_AFTER = 10.0
"""Seconds until a version that could not be loaded is tried again."""
IDLE = 60.0
"""Seconds without a caller after which a version that no alias points at leaves memory."""
KEPT = 16
"""Versions in memory at most; the least recently used goes first."""
QUIET = 5.0
"""Seconds that the measuring of a version waits at most until no request is under way."""
T = TypeVar("T")


class Loaded:
    """The versions that answer. Belongs to one event loop; loading runs off it."""

    def __init__(self, registry: Registry, blobs: Blobs, settings: Settings) -> None:
        self.registry, self.blobs, self.settings = registry, blobs, settings
        self.unpacked = Unpacked(settings.home.resolve() / "cache", blobs)
        self._served: OrderedDict[tuple[str, int], Served] = OrderedDict()
        self._keeping: dict[tuple[str, int], Keeping] = {}
        """How versions are kept that `load` was asked for."""
        self._loading: dict[tuple[str, int], asyncio.Task[Served]] = {}
        self._failures: dict[tuple[str, int], tuple[str, float]] = {}
        """Why a version could not be loaded, and when that was on `time.monotonic`."""
        self._pointers = Pointers(aliases={}, defaults={})
        self._live: dict[tuple[str, str], int] = {}
        """Where each alias answers from: what it points at, once that is loaded."""
        self.streams = Streams(settings.streams or cores())
        self.placing = Placing(self.unpacked, settings, streams=self.streams.count, evict=self._evict)
        self._asked, self._trimmed_at = 0, 0.0
        """Requests when memory was given back last, and when that was on `time.monotonic`."""
        self._chores = ThreadPoolExecutor(2, thread_name_prefix="load")
        self._measuring = ThreadPoolExecutor(1, thread_name_prefix="pace")
        self._looking = asyncio.Lock()
        self._looks = 0
        self._watching: asyncio.Task[None] | None = None
        self._beside: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Learn where the aliases point, and keep looking."""
        await self.streams.start()
        await self.refresh()
        self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Stop looking, answer what waits, free everything."""
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        for served in self._served.values():
            await served.drain()
            await self._close(served)
        self._served.clear()
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        await self._off(self.streams.close)
        self._measuring.shutdown(wait=True, cancel_futures=True)
        self.placing.close()
        self._chores.shutdown(wait=True)

    async def get(self, reference: str | None, task: str, *, deadline: float) -> Served:
        """The version that answers, loaded if need be. Raises `NotFound`, `Conflict`, `Full`, `Late`, `Invalid`.

        `deadline` is on `time.monotonic`; what is loading by then goes on. Call `done` with the version when the
        answer is there.
        """
        served = self._here(reference, task)
        if served is None:
            served = await by(deadline, self._named(reference, task))
        if served.version.task != task:
            self.done(served)
            raise Conflict(f"the model '{served.version.model}' is for {served.version.task}, not {task}")
        return served

    async def hold(self, wanted: Reference, *, deadline: float) -> Served:
        """The same of a version whatever its task is."""
        return await by(deadline, self._hold(wanted))

    async def _named(self, reference: str | None, task: str) -> Served:
        return await self._hold(Reference.parse(reference) if reference else await self._default(task))

    def _here(self, reference: str | None, task: str) -> Served | None:
        """The same, where nobody need wait for it."""
        default = Reference(name=self._pointers.defaults.get(task, ""), alias=PRODUCTION, version=None)
        wanted = Reference.parse(reference) if reference else default
        version = self._live.get((wanted.name, str(wanted.alias)), 0) if wanted.version is None else wanted.version
        key = wanted.name, version
        return self._taken(key, self._served[key]) if key in self._served else None

    async def _hold(self, wanted: Reference) -> Served:
        key = await self._key(wanted)
        return self._taken(key, self._served.get(key) or await self._load(key))

    def _taken(self, key: tuple[str, int], served: Served) -> Served:
        """A version that one caller more waits for."""
        if key in self._served:  # if not, it is leaving already, and will do so after this
            self._served.move_to_end(key)
        served.used += 1
        served.used_at = time.monotonic()
        return served

    def done(self, served: Served) -> None:
        """A caller of `get` has its answer."""
        served.used -= 1
        if not served.used:
            self.placing.stir()

    async def load(self, reference: str, keeping: Keeping | None = None) -> Served:
        """Bring a version into memory now, and keep it so until it is unloaded; None: as it was kept before.

        One that is there and is kept otherwise answers meanwhile.
        """
        key = await self._key(Reference.parse(reference))
        wanted = keeping or self._kept_as(key)
        await self.placing.check(wanted)
        served = self._served.get(key)
        while served is None or not served.keeping.alike(wanted):  # it may be loading as somebody else asked
            served = await self._load(key, wanted)
        served.keeping = self._keeping[key] = wanted  # not before: what cannot be had is not asked for again
        return served

    async def files(self, reference: str) -> tuple[VersionView, Path]:
        """A version and its unpacked files, without loading it. Raises `NotFound`."""
        key = await self._key(Reference.parse(reference))
        version = await self._ask(lambda: self.registry.version(*key))
        return version, await self._ask(lambda: self.unpacked.get(version.digest))

    async def unload(self, reference: str) -> None:
        """Take a version out of memory; it is loaded again when it is next asked for."""
        key = await self._key(Reference.parse(reference))
        served = self._served.pop(key, None)
        if served is None:
            raise Conflict(f"'{reference}' is not loaded")
        self._keeping.pop(key, None)
        self._retire(served)

    def forget(self, name: str, version: int) -> None:
        """Take a deleted version out of memory."""
        self._keeping.pop((name, version), None)
        served = self._served.pop((name, version), None)
        if served is not None:
            self._retire(served)

    async def stats(self, reference: str) -> dict[str, Any]:
        """What a version has done since it was loaded."""
        key = await self._key(Reference.parse(reference))
        served = self._served.get(key)
        if served is None:
            await self._ask(lambda: self.registry.version(*key))  # says what is missing
            failure = self._failures[key][0] if key in self._failures else None
            return {"model": key[0], "version": key[1], "loaded": False, "failure": failure}
        return {"model": key[0], "version": key[1], "loaded": True, **served.stats()}

    def held(self) -> list[Served]:
        """What is in memory."""
        return list(self._served.values())

    def failing(self) -> list[str]:
        """The tasks' default models whose live version could not be loaded when it was last tried."""
        names = set(self._pointers.defaults.values())
        return sorted(name for name in names if (name, self._live.get((name, PRODUCTION), 0)) in self._failures)

    # aliases

    async def refresh(self) -> None:
        """Look where the aliases point now. A look that began after the call answers every caller that waits."""
        wanted = self._looks + 1
        async with self._looking:
            if self._looks < wanted:
                self._looks += 1
                await self._look()

    async def _look(self) -> None:
        self._pointers = await self._ask(self.registry.pointers)
        for alias, version in self._pointers.aliases.items():
            before = self._live.get(alias)
            if before == version:
                continue
            if before is not None and (alias[0], before) in self._served:
                # The old one answers until the new one does.
                if time.monotonic() - self._failures.get((alias[0], version), ("", -RETRY_AFTER))[1] < RETRY_AFTER:
                    continue
                try:
                    await self._load((alias[0], version))
                except CellgateError as error:
                    log.error("new version cannot be loaded", model=alias[0], version=version, cause=error.detail)
                    continue
            self._live[alias] = version
        for gone in self._live.keys() - self._pointers.aliases.keys():
            del self._live[gone]
        self._drop_replaced()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                await self._trimmed()
                await self.refresh()
            except Exception as error:
                log.warning("aliases not refreshed", error=type(error).__name__)

    async def _trimmed(self) -> None:
        """Give memory back that requests have left free, where there were any."""
        if self.streams.asked != self._asked and time.monotonic() - self._trimmed_at > TRIM_EVERY:
            self._asked, self._trimmed_at = self.streams.asked, time.monotonic()
            await self._off(allocator.trim)

    async def _default(self, task: str) -> Reference:
        if task not in self._pointers.defaults:
            await self.refresh()
        name = self._pointers.defaults.get(task)
        if name is None:
            raise NotFound(f"no model answers for {task} yet; train one, or name one in `model`")
        return Reference(name=name, alias="production", version=None)

    async def _key(self, wanted: Reference) -> tuple[str, int]:
        if wanted.version is not None:
            return wanted.name, wanted.version
        alias = (wanted.name, str(wanted.alias))
        if alias not in self._live:
            await self.refresh()
        if alias not in self._live:
            await self._ask(lambda: self.registry.resolve(wanted))  # says what is missing
            raise NotFound(f"the model '{wanted.name}' has no alias '{wanted.alias}'")
        return wanted.name, self._live[alias]

    # loading

    def _kept_as(self, key: tuple[str, int]) -> Keeping:
        return self._keeping.get(key, Keeping())

    async def _load(self, key: tuple[str, int], keeping: Keeping | None = None) -> Served:
        if key not in self._loading:
            self._loading[key] = asyncio.create_task(self._loaded(key, keeping or self._kept_as(key)))
            self._loading[key].add_done_callback(lambda _: self._loading.pop(key, None))
        return await asyncio.shield(self._loading[key])

    async def _loaded(self, key: tuple[str, int], keeping: Keeping) -> Served:
        version = await self._ask(lambda: self.registry.version(*key))
        try:
            copies = await self.placing.copies(version.digest, keeping)
        except Exception as error:
            told = isinstance(error, NoRoom | ArtifactError)  # those are sentences for whoever asks
            self._failures[key] = str(error) if told else type(error).__name__, time.monotonic()
            log.error("version cannot be loaded", model=key[0], version=key[1], error=repr(error))
            cause = f": {error}" if told else ""
            detail = f"version {key[1]} of '{key[0]}' cannot be loaded now{cause}"
            raise Full(detail, retry_after=RETRY_AFTER) from None
        self._failures.pop(key, None)
        first, stepper = copies[0], copies[0].predictor.stepper()
        served = Served(
            version=version,
            copies=copies,
            batcher=self._batcher(first.predictor if len(copies) == 1 else Replicas(copies), copies),
            stepping=stepper if isinstance(stepper, str) else Stepping(stepper, self._batcher(stepper, copies[:1])),
            loaded_at=time.time(),
            keeping=keeping,
        )
        if before := self._served.pop(key, None):
            self._retire(before)
        self._served[key] = served
        while len(self._served) > KEPT and self._evict():
            pass
        served.used_at = time.monotonic()
        self._started(self._pace(served))
        kept = {each.version.digest for each in self._served.values()}
        await self._off(lambda: self.unpacked.sweep(kept))
        await self._off(allocator.trim)
        return served

    def _batcher(self, model: Model, copies: Sequence[Copy]) -> Batcher:
        loop, device = asyncio.get_running_loop(), copies[0].place.device.id

        def relieve() -> None:
            asyncio.run_coroutine_threadsafe(self.placing.relieve(device), loop).result()

        steps = most(copies)
        return Batcher(model, self.streams, capacity=self.settings.max_queue, most_steps=steps, relieve=relieve)

    async def _pace(self, served: Served) -> None:
        """Learn what its forward passes cost, beside the answers; for good where nobody asked for any meanwhile."""
        folder = self.unpacked.folder / served.version.digest
        device = f"{served.devices[0]} {served.predictor.weights}"
        path = calibrated.place(folder, device=device, threads=self.settings.threads)
        pace = await self._off(lambda: calibrated.kept(path))
        if pace is None:
            ends = time.monotonic() + QUIET
            while self.streams.requests and time.monotonic() < ends:
                await asyncio.sleep(0.05)
            before = self.streams.asked
            pace = await self._off(lambda: calibrated.measure(served.predictor), self._measuring)
            if pace.measured and self.streams.asked == before:
                await self._off(functools.partial(calibrated.keep, pace, path))
        served.paced(pace)

    def _drop_replaced(self) -> None:
        """Let go of versions that an alias answered from and answers from no more, when nobody uses them."""
        live = {(name, version) for (name, _), version in self._live.items()}
        for key in [key for key, served in self._served.items() if key not in live and served.idle]:
            if time.monotonic() - self._served[key].used_at > IDLE:
                self._retire(self._served.pop(key))

    def _retire(self, served: Served) -> None:
        async def wait() -> None:
            await asyncio.sleep(0.05)  # who waited for the loading has not said so yet
            while served.used or served.busy:
                await asyncio.sleep(0.05)
            await self._close(served)

        self._started(wait())

    async def _close(self, served: Served) -> None:
        served.close()
        await self.placing.leave(served.copies)

    def _evict(self) -> bool:
        """Begin to let the version go that nobody has asked for longest and nobody asks now, if there is one."""
        idle = next((key for key, served in self._served.items() if served.idle), None)
        if idle is not None:
            self._retire(self._served.pop(idle))
        return idle is not None

    def _started(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it beside all else, and be held until it is done."""
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def _off(self, call: Callable[[], T], pool: ThreadPoolExecutor | None = None) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool or self._chores, call)

    async def _ask(self, call: Callable[[], T]) -> T:
        """Ask the registry. Raises `Full` when the database does not answer."""
        try:
            return await self._off(call)
        except CellgateError:
            raise
        except Exception as error:
            log.error("the registry does not answer", error=type(error).__name__)
            raise Full("models cannot be looked up now", retry_after=2.0) from error


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
