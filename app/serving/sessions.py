"""The use case of sessions: sequences that arrive step by step, each with what its steps so far leave behind.

Knows the loaded versions, bytes and time; no HTTP, no task. Sessions live in this process and end with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import WeakValueDictionary

from app.clock import Clock
from app.errors import CellgateError, Conflict, Flaw, Gone, Invalid, Late, Limited, NotFound
from app.services.registry import Reference, VersionView
from models.batch import Example
from models.stream import Memory, Packed, Sent, Stepper
from models.task import Fault, Params, Schema

if TYPE_CHECKING:
    from app.serving.loaded import Loaded
    from app.serving.served import Served, Stepping
    from app.settings import Settings

SchemaT = TypeVar("SchemaT", bound=Schema)

WAITING = 16
"""Requests of one session that may wait for its turn."""
BESIDE = 600
"""Bytes that a session costs beside its state: 540 to 610 by `benchmarks/sessions.py`."""
LAYOUTS = 4096
"""Shapes of states that sessions share at most."""
SWEEP = 5.0
"""Seconds between two looks for sessions whose time is over."""


@dataclass(frozen=True, kw_only=True)
class SessionView:
    """A session at one moment."""

    id: str
    version: VersionView
    steps: int
    bytes: int
    created_at: datetime
    expires_at: datetime


@dataclass(slots=True, kw_only=True, eq=False)
class _Session:
    id: str
    owner: str
    version: VersionView
    item: Schema
    params: Params
    created_at: datetime
    used_at: float
    """On the clock's `monotonic`."""
    packed: Packed = field(default_factory=Packed)
    steps: int = 0
    waiting: int = 0
    turn: asyncio.Lock | None = field(default=None, repr=False)
    """Held by the request whose turn it is; there is none while nobody asks."""

    @property
    def bytes(self) -> int:
        return len(self.packed.data) + BESIDE


class Sessions:
    """The sessions of this process. Belongs to one event loop.

    Whoever is over the bound on their number or their bytes, the least recently used goes. An id says which process
    began it and is signed for its owner, so that one that is no more is told from one that never was.
    """

    def __init__(self, loaded: Loaded, settings: Settings, clock: Clock) -> None:
        self.loaded, self.settings, self.clock = loaded, settings, clock
        self.bytes = 0
        """What all of them are reckoned to hold."""
        self._held: OrderedDict[str, _Session] = OrderedDict()
        """The least recently used first: that is also the order in which their time ends."""
        self._process, self._secret = secrets.token_hex(4), secrets.token_bytes(32)
        self._layouts: dict[Any, Any] = {}
        self._shared: WeakValueDictionary[tuple[type[Schema], str], Schema] = WeakValueDictionary()
        self._sweeping: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._held)

    async def stepping(self, reference: str, *, deadline: float) -> VersionView:
        """The version that a session on a reference would begin on. `deadline`, here and below: on `time.monotonic`.

        Raises `NotFound`, `Invalid`, `Full`, `Late`, and `Conflict` where it cannot answer step by step.
        """
        served = await self.loaded.hold(Reference.parse(reference), deadline=deadline)
        try:
            _stepping(served)
        finally:
            self.loaded.done(served)
        return served.version

    async def begin(
        self, version: VersionView, *, item: Schema, params: Params, owner: str, deadline: float
    ) -> SessionView:
        """A session on a version that is `stepping`. Raises `Invalid` where the params do not fit it, `Late`."""
        served = await self.loaded.hold(_exactly(version), deadline=deadline)
        try:
            _stepping(served).stepper.check(params)
        except Fault as fault:
            flaw = Flaw(detail=fault.detail, pointer=_pointer(fault.of, *fault.at))
            raise Invalid("the session cannot be used", errors=[flaw]) from None
        finally:
            self.loaded.done(served)
        session = _Session(
            id=self._id(owner),
            owner=owner,
            version=served.version,
            item=self._same(item),
            params=self._same(params),
            created_at=self.clock.now(),
            used_at=self.clock.monotonic(),
        )
        self._add(session)
        return self._view(session)

    def get(self, id: str, *, owner: str) -> SessionView:  # noqa: A002
        """A session, which this does not keep from ending. Raises `NotFound`, `Gone`."""
        return self._view(self._found(id, owner))

    def delete(self, id: str, *, owner: str) -> None:  # noqa: A002
        """End a session now. Raises `NotFound`, `Gone`."""
        self._drop(self._found(id, owner))

    async def fork(self, id: str, *, owner: str, deadline: float) -> SessionView:  # noqa: A002
        """Another session that goes on from where this one stands after all it was asked before."""
        session = self._found(id, owner)
        async with self._turn(session, deadline):
            forked = replace(session, id=self._id(owner), created_at=self.clock.now(), waiting=0, turn=None)
            self._touch(session)
            forked.used_at = session.used_at
            self._add(forked)
        return self._view(forked)

    async def advance(
        self,
        id: str,  # noqa: A002
        steps: Sequence[Any],
        *,
        owner: str,
        deadline: float,
    ) -> tuple[SessionView, list[Any]]:
        """The output of each of some further steps, given all before; all of them or an error that changes nothing.

        Requests of one session take their turns in the order they came.
        Raises `NotFound`, `Gone`, `Invalid`, `Limited`, `Full`, `Late`.
        """
        session = self._found(id, owner)
        self._touch(session)
        async with self._turn(session, deadline):
            served = await self._served(session, deadline)
            try:
                stepping = _stepping(served)
                example = self._prepared(stepping.stepper, session, steps)
                key = session.params.model_dump_json()
                answers = await stepping.batcher.submit(
                    [example], session.params, key=key, deadline=deadline, caller=owner
                )
            finally:
                self.loaded.done(served)
            outputs, memory = answers[0]
            self._keep(session, memory, len(steps))
        return self._view(session), outputs

    async def close(self) -> None:
        """End every session."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeping
        self._held.clear()
        self.bytes = 0

    # one session's turn

    @contextlib.asynccontextmanager
    async def _turn(self, session: _Session, deadline: float) -> AsyncIterator[None]:
        if session.waiting > WAITING:
            raise Limited(f"{WAITING} requests of this session are waiting already", retry_after=1.0)
        session.waiting += 1
        lock = session.turn = session.turn or asyncio.Lock()
        try:
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    await lock.acquire()
            except TimeoutError:
                raise Late("the deadline passed before the session's turn", retry_after=1.0) from None
            try:
                self._still(session)
                yield
            finally:
                lock.release()
        finally:
            session.waiting -= 1
            if not session.waiting:
                session.turn = None

    async def _served(self, session: _Session, deadline: float) -> Served:
        """The version that a session began on, wherever its aliases point by now. Raises `Gone`, `Full`, `Late`."""
        try:
            served = await self.loaded.hold(_exactly(session.version), deadline=deadline)
        except NotFound:
            served = None
        if served is not None and served.version.digest == session.version.digest:
            return served
        if served is not None:
            self.loaded.done(served)
        self._drop(session)
        told = f"version {session.version.version} of '{session.version.model}'"
        raise Gone(f"{told}, which the session began on, was deleted")

    @staticmethod
    def _prepared(stepper: Stepper, session: _Session, steps: Sequence[Any]) -> Example:
        memory = session.packed.memory()
        try:
            return stepper.prepare(Sent(steps=steps, memory=memory, item=session.item, params=session.params))
        except Fault as fault:
            flaw = Flaw(detail=fault.detail, pointer=_pointer("inputs", *fault.at))
            raise Invalid("the steps cannot be used", errors=[flaw]) from None

    def _keep(self, session: _Session, memory: Memory, steps: int) -> None:
        self._still(session)
        before = session.bytes
        if len(self._layouts) > LAYOUTS:
            self._layouts.clear()
        session.packed = Packed.of(memory, self._layouts)
        session.steps += steps
        self.bytes += session.bytes - before
        self._touch(session)
        self._trim()

    # which sessions there are

    def _add(self, session: _Session) -> None:
        self._held[session.id] = session
        self.bytes += session.bytes
        self._trim()
        if self._sweeping is None or self._sweeping.done():
            self._sweeping = asyncio.get_running_loop().create_task(self._sweep())

    def _drop(self, session: _Session) -> None:
        if self._held.pop(session.id, None) is not None:
            self.bytes -= session.bytes
        if not self._held:
            self._layouts.clear()

    def _touch(self, session: _Session) -> None:
        session.used_at = self.clock.monotonic()
        self._held.move_to_end(session.id)

    def _trim(self) -> None:
        """Let go of those whose time is over, and of the least recently used while there are too many."""
        over = self.clock.monotonic() - self.settings.session_seconds
        while self._held:
            oldest = next(iter(self._held.values()))
            crowded = len(self._held) > self.settings.max_sessions or self.bytes > self.settings.session_bytes
            if oldest.used_at > over and not crowded:
                return
            self._drop(oldest)

    async def _sweep(self) -> None:
        while self._held:
            await asyncio.sleep(SWEEP)
            self._trim()

    def _found(self, id: str, owner: str) -> _Session:  # noqa: A002
        self._trim()
        session = self._held.get(id)
        if session is not None and session.owner == owner:
            return session
        process, _, token = id.removeprefix("sess_").partition("_")
        if session is None and id.startswith("sess_") and len(process) == 8 and token:
            if process != self._process:
                raise Gone(
                    "this process does not know the session: it ended when the service was started anew, or another "
                    "process of the service began it; keep to the connection that it was begun on"
                )
            if hmac.compare_digest(token[32:].encode(), self._signature(token[:32], owner).encode()):
                raise _over()
        raise NotFound(f"no session '{id[:100]}'")

    def _still(self, session: _Session) -> None:
        if self._held.get(session.id) is not session:
            raise _over()

    def _id(self, owner: str) -> str:
        token = secrets.token_hex(16)
        return f"sess_{self._process}_{token}{self._signature(token, owner)}"

    def _signature(self, token: str, owner: str) -> str:
        return hmac.new(self._secret, f"{token}{owner}".encode(), hashlib.sha256).hexdigest()[:16]

    def _same(self, given: SchemaT) -> SchemaT:
        """One object for all sessions that say the same."""
        found: Any = self._shared.setdefault((type(given), given.model_dump_json()), given)
        return cast(SchemaT, found)

    def _view(self, session: _Session) -> SessionView:
        left = session.used_at + self.settings.session_seconds - self.clock.monotonic()
        return SessionView(
            id=session.id,
            version=session.version,
            steps=session.steps,
            bytes=session.bytes,
            created_at=session.created_at,
            expires_at=self.clock.now() + timedelta(seconds=left),
        )


def _stepping(served: Served) -> Stepping:
    """What answers the steps of a version. Raises `Conflict`, with the reason."""
    if isinstance(served.stepping, str):
        version = served.version
        raise Conflict(f"version {version.version} of '{version.model}' cannot be stepped through: {served.stepping}")
    return served.stepping


def _exactly(version: VersionView) -> Reference:
    return Reference(name=version.model, alias=None, version=version.version)


def _over() -> CellgateError:
    return Gone("the session is over: deleted, not used for too long, or the least recently used of too many")


def _pointer(*place: str | int) -> str:
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in place)
