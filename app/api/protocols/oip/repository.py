"""The extensions of the Open Inference Protocol that look after models: repository and statistics. Knows schemas.

A version is ready where it is in memory, or will be with the first request; it is not when it could not be loaded, or
was unloaded here.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from app.api.deps import READING, Use, require
from app.api.models import Loading
from app.api.problems import responses
from app.api.protocols.asked import shaped
from app.api.protocols.oip.inference import PLACES, PREFIX, ModelName, documented
from app.errors import Conflict
from app.services.registry import Reference
from app.serving.keeping import Keeping
from app.serving.served import Served
from app.serving.stats import SIZES, Stats

NS = 1_000_000_000
Key = tuple[str, int]


class ModelReady(BaseModel):
    name: str
    ready: bool = True


class IndexRequest(BaseModel):
    """Which models to list."""

    model_config = ConfigDict(extra="forbid")

    ready: bool = Field(default=False, description="Only those that answer.")


class Indexed(BaseModel):
    """A version of the repository."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str = Field(description="Why it is not ready.")


class LoadRequest(BaseModel):
    """How a version is kept in memory; as it was kept before where nothing is said."""

    model_config = ConfigDict(extra="forbid")

    parameters: Loading | None = None


class UnloadParameters(BaseModel):
    model_config = ConfigDict(extra="forbid")

    unload_dependents: bool = Field(default=False, description="No model here depends on another.")


class UnloadRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    parameters: UnloadParameters | None = None


class Duration(BaseModel):
    """How often, and how long in all."""

    count: int
    ns: int


class InferenceStats(BaseModel):
    """Of all requests since the version was loaded, by whatever route they came."""

    success: Duration = Field(description="Requests; the time is that of `queue` and `compute_infer`.")
    fail: Duration = Field(description="Requests refused or too late, whose time is not measured.")
    queue: Duration = Field(description="Items, and what they waited.")
    compute_input: Duration = Field(description="Not measured apart.")
    compute_infer: Duration = Field(description="Batches, and their forward passes.")
    compute_output: Duration = Field(description="Not measured apart.")
    cache_hit: Duration = Duration(count=0, ns=0)
    cache_miss: Duration = Duration(count=0, ns=0)


class Counted(BaseModel):
    count: int


class BatchStats(BaseModel):
    """Batches of one class of sizes."""

    batch_size: int = Field(description="The largest of the class; the classes end at 1, 2, 4 and so on to 256.")
    compute_infer: Counted = Field(description="How many; their time is measured for all sizes together.")


class MemoryUsage(BaseModel):
    type: Literal["CPU", "GPU"]
    id: int
    byte_size: int


class ModelStats(BaseModel):
    """What a version has done since it was loaded."""

    name: str
    version: str
    last_inference: int = Field(description="Milliseconds since 1970; 0: none yet.")
    inference_count: int = Field(description="Items.")
    execution_count: int = Field(description="Batches.")
    inference_stats: InferenceStats
    batch_stats: list[BatchStats]
    memory_usage: list[MemoryUsage]


class Statistics(BaseModel):
    model_stats: list[ModelStats]


def router() -> APIRouter:
    """Readiness, statistics, the index, loading and unloading."""
    made = APIRouter(prefix=PREFIX, tags=["open inference protocol"])
    states = States()
    shown, admin = responses(404, under=PREFIX), [require("admin")]
    made.add_api_route(
        "/models/stats",
        every_stats,
        response_model=Statistics,
        responses=responses(under=PREFIX),
        dependencies=[READING],
    )
    for path, reference in PLACES:
        made.add_api_route(
            f"{path}/ready",
            states.ready(reference),
            response_model=ModelReady,
            responses=responses(404, 409, under=PREFIX),
            dependencies=[READING],
        )
        made.add_api_route(
            f"{path}/stats", _stats(reference), response_model=Statistics, responses=shown, dependencies=[READING]
        )
    made.add_api_route(
        "/repository/index",
        states.index,
        methods=["POST"],
        response_model=list[Indexed],
        openapi_extra=documented(IndexRequest, "ready", {"ready": True}),
        responses=responses(under=PREFIX),
        dependencies=[READING],
    )
    pinned, alone = {"parameters": {"pinned": True}}, {"parameters": {"unload_dependents": False}}
    for verb, handler, body in (
        ("load", states.load, documented(LoadRequest, "pinned", pinned)),
        ("unload", states.unload, documented(UnloadRequest, "alone", alone)),
    ):
        made.add_api_route(
            f"/repository/models/{{model}}/{verb}",
            handler,
            methods=["POST"],
            response_class=Response,
            responses={200: {"description": "Done; no body."}, **responses(404, 409, under=PREFIX)},
            dependencies=admin,
            openapi_extra=body,
        )
    return made


def _sent(shape: type[BaseModel]) -> Callable[..., Any]:
    """What reads a body of JSON that may be left out: clients of Triton do not say that it is JSON."""

    async def body(request: Request) -> BaseModel:
        given = await request.body()
        return shaped(shape)(given) if given else shape()

    return body


class States:
    """Which versions are ready, as this protocol sees it. Remembers what was unloaded here."""

    def __init__(self) -> None:
        self._parted: set[Key] = set()

    def ready(self, reference: Callable[..., Awaitable[Reference]]) -> Callable[..., Any]:
        """A route that says whether one version is."""

        async def ready(wanted: Annotated[Reference, Depends(reference)], use: Use) -> ModelReady:
            version = await run_in_threadpool(use.registry.resolve, wanted)
            reason = await self._reason(use, (version.model, version.version))
            if reason:
                raise Conflict(f"version {version.version} of '{version.model}' is not ready: {reason}")
            return ModelReady(name=version.model)

        ready.__doc__ = "Whether a model answers; 409 says why not."
        return ready

    async def index(
        self,
        use: Use,
        body: Annotated[IndexRequest, Depends(_sent(IndexRequest))],
    ) -> list[Indexed]:
        """The versions that aliases point at, and those in memory."""
        pointers = await run_in_threadpool(use.registry.pointers)
        keys = {(name, version) for (name, _), version in pointers.aliases.items()} | set(_held(use))
        found = []
        for name, version in sorted(keys):
            reason = await self._reason(use, (name, version))
            state: Literal["READY", "UNAVAILABLE"] = "UNAVAILABLE" if reason else "READY"
            found.append(Indexed(name=name, version=str(version), state=state, reason=reason))
        return [each for each in found if each.state == "READY" or not body.ready]

    async def load(
        self,
        model: ModelName,
        use: Use,
        body: Annotated[LoadRequest, Depends(_sent(LoadRequest))],
    ) -> Response:
        """Bring a version into memory now, and keep it so until it is unloaded."""
        asked = None if body.parameters is None else Keeping(**body.parameters.model_dump())
        served = await use.loaded.load(model, asked)
        self._parted.discard((served.version.model, served.version.version))
        return Response()

    async def unload(
        self,
        model: ModelName,
        use: Use,
        _: Annotated[UnloadRequest, Depends(_sent(UnloadRequest))],
    ) -> Response:
        """Take a version out of memory, or by a bare name each of the model's; the next request loads it again."""
        wanted = Reference.parse(model)
        version = await run_in_threadpool(use.registry.resolve, wanted)
        keys = [
            key for key in _held(use) if key[0] == wanted.name and (model == wanted.name or key[1] == version.version)
        ]
        for name, number in keys:
            await use.loaded.unload(f"{name}:{number}")
        self._parted |= {*keys, (version.model, version.version)}
        return Response()

    async def _reason(self, use: Any, key: Key) -> str:
        """Why a version is not ready; empty where it is."""
        if key in _held(use):
            self._parted.discard(key)
            return ""
        if key in self._parted:
            return "unloaded"
        stats = await use.loaded.stats(f"{key[0]}:{key[1]}")
        return f"it cannot be loaded: {stats['failure']}" if stats.get("failure") else ""


def _held(use: Any) -> dict[Key, Served]:
    return {(served.version.model, served.version.version): served for served in use.loaded.held()}


async def every_stats(use: Use) -> Statistics:
    """What each version in memory has done since it was loaded."""
    return Statistics(model_stats=[_counted(*key, served) for key, served in sorted(_held(use).items())])


def _stats(reference: Callable[..., Awaitable[Reference]]) -> Callable[..., Any]:
    async def stats(wanted: Annotated[Reference, Depends(reference)], use: Use) -> Statistics:
        version = await run_in_threadpool(use.registry.resolve, wanted)
        key = (version.model, version.version)
        return Statistics(model_stats=[_counted(*key, _held(use).get(key))])

    stats.__doc__ = "What a version has done since it was loaded."
    return stats


def _counted(name: str, version: int, served: Served | None) -> ModelStats:
    """The counts of a version; zeros where it is not in memory."""
    done = served.counted() if served is not None else Stats()
    seconds_ago = time.monotonic() - served.used_at if served is not None and done.items else None
    failed = done.refused + done.late
    none = Duration(count=0, ns=0)
    waited, computed = round(done.waited * NS), round(done.seconds * NS)
    return ModelStats(
        name=name,
        version=str(version),
        last_inference=0 if seconds_ago is None else round((time.time() - seconds_ago) * 1000),
        inference_count=done.items,
        execution_count=done.batches,
        inference_stats=InferenceStats(
            success=Duration(count=max(0, done.requests - failed - done.left), ns=waited + computed),
            fail=Duration(count=failed, ns=0),
            queue=Duration(count=done.items, ns=waited),
            compute_input=none,
            compute_infer=Duration(count=done.batches, ns=computed),
            compute_output=none,
        ),
        batch_stats=[
            BatchStats(batch_size=size, compute_infer=Counted(count=count))
            for size, count in zip(SIZES, done.sizes, strict=True)
            if count
        ],
        memory_usage=[]
        if served is None
        else [_memory(copy.place.device.id, copy.place.rest) for copy in served.copies],
    )


def _memory(device: str, size: int) -> MemoryUsage:
    kind, _, number = device.partition(":")
    return MemoryUsage(type="CPU" if kind == "cpu" else "GPU", id=int(number or 0), byte_size=size)
