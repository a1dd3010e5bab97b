"""The worker's loop: claim a job, start its work, carry what it says into the database. Knows no torch."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.db.repositories.workers import WorkerRepository
from app.errors import Away
from app.jobs import study
from app.jobs.bell import Bell
from app.jobs.comparison import compared
from app.jobs.executors import Gone, Message, Running
from app.jobs.orders import ASKING, PLACE, ordered
from app.jobs.parts import Parts
from app.jobs.problems import may_pass, of_worker
from app.jobs.queue import Claim, Lost, Queue
from app.jobs.tuning import tuned
from app.services.registry import Stored
from app.services.requests import checked
from app.services.results import joined
from models import catalog

log = structlog.get_logger("cellgate.worker")

GRACE = 8.0
"""Seconds that a child has to stop when the worker is asked to end."""
REAP_EVERY = 2.0
SWEEP_EVERY = 3600.0
"""Seconds between two sweeps of one worker, and before the first."""
CONCLUDE = {"compare": compared, "tune": tuned}
"""What draws up the result of a parent, once its children have ended."""
T = TypeVar("T")


class _Dropped(Exception):
    """The job was let go of before its child began, as was asked."""


class Loop:
    """One worker: as many jobs at once as it has slots, until it is asked to stop."""

    def __init__(self, parts: Parts, stopping: threading.Event) -> None:
        self.parts, self.stopping = parts, stopping
        self.queue = Queue(parts.database, worker=parts.name, lease_seconds=parts.settings.lease_seconds)
        self._reaped = self._seen = 0.0
        self.bell = Bell(parts.database, stopping, poll_seconds=parts.settings.poll_seconds)
        self._at_work: set[threading.Thread] = set()
        self._warm = threading.Event()

    def run(self) -> None:
        """Work until `stopping` is set; a database that is away for a while ends nothing."""
        for beside in (self._keep_house, self._warm_up):
            threading.Thread(target=beside, daemon=True).start()
        self.bell.start()
        while not self.stopping.is_set():
            try:
                self._look_after()
                free = self._warm.is_set() and len(self._at_work) < self.parts.settings.slots
                if free and self._begin_next():
                    continue
            except OperationalError as error:
                log.warning("database away", error=type(error.orig).__name__)
                self.stopping.wait(1.0)
            except Away as error:
                log.warning("blobs away", error=error.detail)
            self.bell.wait(most=self._seen_every)
        for thread in list(self._at_work):
            thread.join()

    def _warm_up(self) -> None:
        """Load what jobs begin with. No job is held by a worker that could not begin it yet: another may take it,
        and none is lost with a worker that ends before it was ready."""
        try:
            self.parts.executor.warm()
        except Exception as error:
            log.warning("not warm: jobs will say why", exc_info=error)
        self._warm.set()
        self.bell.ring()

    def _begin_next(self) -> bool:
        """Claim a job, and begin it on a thread of its own; whether there was one. Called by one thread alone."""
        claim = self.queue.claim(self.parts.places.offers)
        if claim is None:
            return False
        self.parts.places.take(claim.name, claim.device, memory=claim.memory)
        thread = threading.Thread(target=self._in_a_slot, args=(claim,))
        self._at_work.add(thread)
        thread.start()
        return True

    def _in_a_slot(self, claim: Claim) -> None:
        try:
            self._work(claim)
        finally:
            self.parts.places.leave(claim.name)
            self._at_work.discard(threading.current_thread())
            self.bell.ring()

    def _keep_house(self) -> None:
        """Beside the work, once in a while: what nobody needs goes."""
        while not self.stopping.wait(SWEEP_EVERY):
            try:
                swept = self.parts.house.sweep()
                if swept.total:
                    log.info("house kept", **asdict(swept))
            except Exception as error:
                log.warning("house not kept", error=type(error).__name__)

    def _look_after(self) -> None:
        """Say that this worker lives, and take the jobs of those that do not."""
        now = time.monotonic()
        if now - self._seen > self._seen_every:
            self._seen = now
            with self.parts.database.write() as session:
                WorkerRepository(session).seen(
                    self.parts.name, self.parts.places.names(), self.parts.database.now(session)
                )
        if now - self._reaped > REAP_EVERY:
            self._reaped = now
            taken = self.queue.reap()
            if taken:
                log.warning("jobs of silent workers taken back", jobs=taken)
            self._sweep()

    def _sweep(self) -> None:
        """Delete the artifacts of children among which their parent has chosen; only the chosen is a version."""
        spent = self.queue.spent()
        for artifact in spent.values():
            self.parts.registry.forget(artifact)
        if spent:
            self.queue.let_go(spent.keys())

    def _work(self, claim: Claim) -> None:
        log.info("job claimed", job=claim.id, attempt=claim.attempt)
        with tempfile.TemporaryDirectory(prefix="cellgate-job-", ignore_cleanup_errors=True) as scratch:
            running: Running | None = None
            try:
                if claim.kind in CONCLUDE:
                    self._conclude(claim)
                else:
                    claim = self._meanwhile(claim, lambda: self._decided(claim), heeding=True)
                    order = self._meanwhile(claim, lambda: ordered(self.parts, claim, Path(scratch)), heeding=True)
                    running = self._meanwhile(claim, lambda: self.parts.executor.start(order))
                    self._watch(claim, running)
            except Lost:
                log.warning("job lost to another worker", job=claim.id)
            except _Dropped:
                log.info("job let go of", job=claim.id)
            except OperationalError:
                log.warning("database away: the job waits for its lease to end", job=claim.id)
            except Exception as error:
                found = of_worker(error)
                self._fail(claim, found)  # first: while a traceback is drawn nobody keeps the lease
                log.warning("job failed in the worker", job=claim.id, type=found["type"], exc_info=error)
            finally:
                if running is not None:
                    running.kill()

    def _fail(self, claim: Claim, problem: dict[str, Any]) -> None:
        end = self.queue.falter if may_pass(problem) else self.queue.fail
        with suppress(Lost):
            self._patiently(lambda: end(claim, problem))

    def _decided(self, claim: Claim) -> Claim:
        """The claim with what it tries: a trial settles that when its turn comes, once and for all its attempts."""
        request = claim.request
        if "study" not in request or len(request["varies"]) > 1:
            return claim
        while True:  # once for each trial that another worker settles in between, at most
            tried = study.suggested(catalog.card(claim.task), request, self.queue.siblings(claim))
            config = checked(claim.task, {**request["config"], **tried})
            decided = {**request, "config": config, "varies": {**request["varies"], **tried}}
            if self._patiently(partial(self.queue.decide, claim, decided)):
                return replace(claim, request=decided)

    def _meanwhile(self, claim: Claim, call: Callable[[], T], *, heeding: bool = False) -> T:
        """The result of a call that may take long, on a thread of its own: the lease is kept while it lasts.

        Raises `Lost`; `heeding`, `_Dropped` when the job or the worker is asked to stop. The call then goes on unheard.
        """
        work: Future[T] = Future()
        threading.Thread(target=_fulfil, args=(work, call), daemon=True).start()
        while not wait([work], timeout=self._beat).done:
            state = self._patiently(lambda: self.queue.heartbeat(claim))
            if heeding and state in {"cancelling", "pausing"}:
                self._patiently(lambda: self.queue.stopped(claim))
                raise _Dropped
            if heeding and self.stopping.is_set():
                self._patiently(lambda: self.queue.hand_back(claim, "the worker ended"))
                raise _Dropped
        return work.result()

    @property
    def _seen_every(self) -> float:
        """Seconds between two signs of life of this worker."""
        return self.parts.settings.lease_seconds / 3

    @property
    def _beat(self) -> float:
        """Seconds between two heartbeats."""
        return min(self.parts.settings.lease_seconds / 5, 0.5)

    def _watch(self, claim: Claim, running: Running) -> None:
        """Carry messages until the work ends; heartbeats go on whether it speaks or not."""
        beaten, asked, deadline = 0.0, False, float("inf")
        while True:
            if self.stopping.is_set() and deadline == float("inf"):
                deadline = time.monotonic() + GRACE
                running.stop("the worker is ending")
            if time.monotonic() > deadline:
                self._patiently(lambda: self.queue.hand_back(claim, "the worker ended"))
                return
            if time.monotonic() - beaten > self._beat:
                beaten = time.monotonic()
                state = self._patiently(lambda: self.queue.heartbeat(claim))
                if state in {"cancelling", "pausing"} and not asked:
                    asked = True
                    running.stop(state)
            try:
                for message in running.messages(0.2):
                    if message[0] == "enough":
                        running.answer(self._enough(claim, message[1]))
                    elif self._heard(claim, message):
                        return
            except Gone as gone:
                self._patiently(partial(self.queue.died, claim, gone.how, killed=gone.killed))
                return

    def _enough(self, claim: Claim, asked: dict[str, Any]) -> str | None:
        """Why a trial is given up, held against the others; None: it goes on."""
        others = self._patiently(lambda: self.queue.siblings(claim))
        reason: str | None = study.hopeless(catalog.card(claim.task), claim.request, others, **asked)
        return reason

    def _patiently(self, call: Callable[[], Any]) -> Any:
        """Try again while the database is away, for as long as the lease lasts."""
        until = time.monotonic() + self.parts.settings.lease_seconds
        while True:
            try:
                return call()
            except OperationalError:
                if time.monotonic() > until:
                    raise Lost from None
                time.sleep(0.5)

    def _heard(self, claim: Claim, message: Message) -> bool:
        """Record one message; True when it was the last."""
        kind, data = message
        if kind in {"progress", "metrics", "log"}:
            self._patiently(lambda: self.queue.tell(claim, kind, data))
            return False
        if kind == "resumed":
            self._patiently(lambda: self.queue.resumed(claim, data))
            return False
        if kind == "checkpoint":
            self._keep(claim, data)
            return False
        if kind == "done" and claim.kind in ASKING:
            self._answered(claim, data)
        elif kind == "done":
            self._finish(claim, data)
        elif kind == "stopped" and self.stopping.is_set():
            self._patiently(lambda: self.queue.hand_back(claim, "the worker ended"))
        elif kind == "stopped":
            self._patiently(lambda: self.queue.stopped(claim))
        else:
            self._patiently(lambda: self.queue.fail(claim, data))
        log.info("job ended", job=claim.id, how=kind)
        return True

    def _keep(self, claim: Claim, data: dict[str, Any]) -> None:
        """Put a checkpoint where every worker finds it; the one before is then no longer needed."""
        path = Path(data["path"])
        size = path.stat().st_size
        try:
            blob = self._meanwhile(claim, lambda: self.parts.blobs.put(path))
        except Away as error:
            if claim.kind in ASKING:  # each piece is needed
                raise
            log.warning("blobs away: a checkpoint is passed over", job=claim.id, error=error.detail)
            path.unlink()
            return
        place = {name: value for name, value in data.items() if name in PLACE}
        kept = {"piece" if claim.kind in ASKING else "blob": blob, "bytes": size, **place}
        before = self._patiently(lambda: self.queue.checkpoint(claim, kept))
        if before is not None:
            with suppress(Away):  # the sweep finds it
                self.parts.blobs.delete(before)

    def _finish(self, claim: Claim, done: dict[str, Any]) -> None:
        stored = self._meanwhile(claim, lambda: self.parts.registry.store(Path(done["zip"])))
        told: dict[str, Any] = {
            name: done[name] for name in ("metrics", "seconds", "ended", "by_epoch", "pruned") if name in done
        }
        told["parameters"] = stored.manifest.parameters
        if claim.parent is not None:  # the parent chooses among its children; until then no version is made
            self._patiently(lambda: self.queue.succeed(claim, lambda _: told, artifact=stored.blob))
        else:
            self._patiently(
                lambda: self.queue.succeed(claim, lambda session: self._registered(claim, stored, session) | told)
            )

    def _answered(self, claim: Claim, done: dict[str, Any]) -> None:
        """End a job that asked a version: with its scores, or with its lines as one file."""
        version = int(claim.request["model"].rpartition(":")[2])
        told = {"model": claim.model, "version": version, "split": claim.request.get("split"), **done}
        digest = None
        if claim.kind == "predict":
            lines = self._meanwhile(claim, lambda: joined(self.parts.blobs, claim.kept.get("pieces", [])))
            digest = lines.digest
            told |= {"bytes": lines.bytes, "digest": digest, "href": f"/v1/jobs/{claim.id}/result"}
        self._patiently(lambda: self.queue.succeed(claim, lambda _: told, artifact=digest))

    def _conclude(self, claim: Claim) -> None:
        """Draw up what a parent's children found, and register the best of them."""
        concluded = CONCLUDE[claim.kind](catalog.card(claim.task), self.queue.children(claim))
        if concluded.problem is not None:
            problem = concluded.problem
            self._patiently(lambda: self.queue.fail(claim, problem))
            return
        stored = self._meanwhile(claim, lambda: self.parts.registry.stored(str(concluded.artifact)))
        found = {**concluded.result, "metrics": stored.manifest.metrics}

        def registered(session: Session) -> dict[str, Any]:
            return self._registered(claim, stored, session, how=concluded.study) | found

        self._patiently(lambda: self.queue.succeed(claim, registered))
        self._patiently(self._sweep)

    def _registered(
        self, claim: Claim, stored: Stored, session: Session, *, how: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """A new version, made in the transaction that ends its job; `how` it was found is kept with it."""
        version = self.parts.registry.register(
            stored,
            model=claim.model,
            promote=claim.request.get("promote", "if_better"),
            by=f"job {claim.id}",
            within=session,
            study=how,
        )
        promoted = "production" in version.aliases
        return {"model": version.model, "version": version.version, "promoted": promoted}


def _fulfil(work: Future[T], call: Callable[[], T]) -> None:
    """Make the call and keep what came of it, good or bad."""
    try:
        work.set_result(call())
    except BaseException as error:
        work.set_exception(error)
