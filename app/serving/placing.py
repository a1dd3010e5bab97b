"""Brings versions to devices that have room for them, and lets them go. Knows files, devices and bytes, no alias.

A version waits for room until those that nobody uses have left; which these are, whoever keeps the versions says.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from app.errors import Conflict
from app.serving.keeping import Keeping
from app.serving.room import Place, Room
from app.serving.unpacked import Unpacked
from app.serving.weighed import weighed
from app.settings import Settings
from models import artifact, devices, footprint, predictor
from models.artifact import ArtifactError
from models.devices import NoRoom, Probe
from models.footprint import Footprint
from models.predictor import Precision, Predictor

WAIT = 10.0
"""Seconds that a version waits at most for others to leave."""
LOOK = 0.25
"""Seconds between two looks for room where nothing stirs: other programs leave memory as well."""
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A version on a device."""

    predictor: Predictor
    place: Place


class Replicas:
    """Copies of one version: a batch goes to the one that has least to do. Safe to call from several threads."""

    def __init__(self, copies: Sequence[Copy]) -> None:
        self._copies = copies
        self._running = [0] * len(copies)
        self._lock = threading.Lock()

    def answer(self, examples: Sequence[Any], params: Any) -> list[Any]:
        """As `Predictor.answer`, whichever copy it is."""
        with self._lock:
            index = self._running.index(min(self._running))
            self._running[index] += 1
        try:
            return self._copies[index].predictor.answer(examples, params)
        finally:
            with self._lock:
                self._running[index] -= 1


class Placing:
    """Belongs to one event loop; files are read and networks are made off it."""

    def __init__(
        self,
        unpacked: Unpacked,
        settings: Settings,
        *,
        streams: int,
        evict: Callable[[], bool],
        probe: Probe | None = None,
    ) -> None:
        """`evict` begins to let a version go that nobody uses, and says whether there was one."""
        self.unpacked, self.settings, self.evict = unpacked, settings, evict
        self.room = Room(wanted=settings.device, budget=settings.device_budget, streams=streams, probe=probe)
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="place")
        self._weighing = ThreadPoolExecutor(1, thread_name_prefix="weigh")
        """One at a time: measuring takes a core, and answers go on meanwhile."""
        self._admitting = asyncio.Lock()
        self._freed = asyncio.Event()

    async def check(self, keeping: Keeping) -> None:
        """Raises `Conflict` where there are fewer devices than copies."""
        there = await self._off(lambda: self.room.usable)
        if keeping.replicas > max(1, there):
            raise Conflict(f"{keeping.replicas} replicas need a device each; this service may use {there}")

    async def copies(self, digest: str, keeping: Keeping) -> list[Copy]:
        """The copies of a version, each on a device of its own. Raises `NoRoom`, and what loading raises."""
        folder = await self._off(functools.partial(self._folder, digest))
        made: list[Copy] = []
        try:
            while len(made) < keeping.replicas:
                made.append(await self._copy(folder, keeping.precision, but={copy.place.device.id for copy in made}))
        except BaseException:
            await self.leave(made)
            raise
        return made

    async def leave(self, copies: Sequence[Copy]) -> None:
        """Free what copies hold; nothing asks them any more."""
        await self._off(functools.partial(self._free, copies))
        self.stir()

    def _free(self, copies: Sequence[Copy]) -> None:
        for copy in copies:
            copy.predictor.close()
            devices.give_back(copy.place.device.id)
            self.room.give_back(copy.place)

    def stir(self) -> None:
        """A version is free to go, or gone: whoever waits for room looks again."""
        self._freed.set()

    async def relieve(self, device: str) -> None:
        """Let a version go that nobody uses, and wait until it has; return to the machine what is held for nothing."""
        self._freed.clear()
        if self.evict():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._freed.wait(), WAIT)
        await self._off(functools.partial(devices.give_back, device))

    def close(self) -> None:
        """Nothing is loaded any more."""
        self._weighing.shutdown(wait=True, cancel_futures=True)
        self._pool.shutdown(wait=True)

    async def _copy(self, folder: Path, precision: Precision, *, but: Collection[str]) -> Copy:
        kinds = await self._off(functools.partial(self.room.kinds, but=but))
        taken = {
            kind: await self._off(functools.partial(self._footprint, folder, precision, device), self._weighing)
            for kind, device in kinds.items()
        }
        async with self._admitting:  # who came first gets the next place that is free
            place = await self._admitted(taken, but)
        try:
            return Copy(predictor=await self._off(functools.partial(self._made, folder, precision, place)), place=place)
        except BaseException:
            self.room.give_back(place)
            raise

    async def _admitted(self, taken: Mapping[str, Footprint], but: Collection[str]) -> Place:
        """A place as soon as there is one: at once, or when others have left theirs. Raises `NoRoom`."""
        until = time.monotonic() + WAIT
        while True:
            self._freed.clear()
            try:
                return await self._off(functools.partial(self.room.take, taken, but=but))
            except NoRoom:
                if time.monotonic() > until or not await self._off(functools.partial(self.room.ever, taken, but=but)):
                    raise
                self.evict()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._freed.wait(), LOOK)

    def _footprint(self, folder: Path, precision: Precision, device: str) -> Footprint:
        """What a version takes: measured where a budget is to be kept, else by the size of its files."""
        if self.settings.device_budget is None:
            return footprint.estimated(folder, device)
        return weighed(folder, device=device, threads=self.settings.threads, precision=precision)

    def _folder(self, digest: str) -> Path:
        """The unpacked files, whole."""
        folder = self.unpacked.get(digest)
        try:
            artifact.read(folder)
        except ArtifactError:  # damaged since it was unpacked
            self.unpacked.forget(digest)
            folder = self.unpacked.get(digest)
        return folder

    def _made(self, folder: Path, precision: Precision, place: Place) -> Predictor:
        device, wanted = place.device, self.settings.serve_precision
        products = wanted if device.kind != "cpu" and wanted in device.precisions else "fp32"
        made = predictor.load(
            folder, threads=self.settings.threads, device=device.id, precision=precision, products=products
        )
        try:
            made.probe()
        except BaseException:
            made.close()
            raise
        devices.give_back(device.id)
        return made

    async def _off(self, call: Callable[[], T], pool: ThreadPoolExecutor | None = None) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool or self._pool, call)


def most(copies: Sequence[Copy]) -> int | None:
    """Padded steps of a batch that each of the copies can hold; None: any."""
    return min((copy.place.steps for copy in copies if copy.place.steps is not None), default=None)
