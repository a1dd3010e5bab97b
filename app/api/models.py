"""Models over HTTP: versions, aliases, artifacts. Translates between requests and the use cases; knows no table."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from app.api.deps import READING, PageSize, PageToken, Use, require
from app.api.download import streamed
from app.api.problems import responses
from app.services.pages import Page
from app.services.registry import ModelView, MoveView, VersionView
from app.serving.keeping import Keeping

router = APIRouter(prefix="/v1/models", tags=["models"])


class Pointed(BaseModel):
    """Where an alias is to point."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"version": 3}]})

    version: int = Field(ge=1, le=2**31 - 1)


class RolledBack(BaseModel):
    """Which alias is to go back."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"alias": "production"}]})

    alias: str = Field("production", pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")


class History(BaseModel):
    items: list[MoveView]


class Loading(BaseModel):
    """How a version is kept in memory."""

    model_config = ConfigDict(extra="forbid")

    pinned: bool = Field(default=False, description="Whether it stays until it is unloaded, whoever else needs room.")
    replicas: int = Field(default=1, ge=1, le=64, description="Copies, each on a device of its own.")
    precision: Literal["auto", "fp32"] = Field(
        default="auto", description="`auto`: weights in 8 bits where the version has them; `fp32`: as they were learnt."
    )


class LoadedView(BaseModel):
    """A version in memory."""

    model: str
    version: int
    device: str = Field(description="Of its first copy.")
    devices: list[str] = Field(description="Of each copy.")
    weights: str = Field(description="`fp32`, or `int8`: in 8 bits.")
    memory: int = Field(description="Bytes that are kept for it, all copies together.")
    pinned: bool


def _who(caller: str) -> str:
    return f"key {caller}" if caller else "anonymous"


@router.get("", responses=responses(), dependencies=[READING])
def models(
    use: Use,
    task: Annotated[str | None, Query(max_length=64)] = None,
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> Page[ModelView]:
    """Models, newest first."""
    found: Page[ModelView] = use.registry.models(task=task, page_size=page_size, page_token=page_token)
    return found


@router.post(
    "/import",
    status_code=201,
    responses=responses(409),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def import_(
    request: Request,
    use: Use,
    caller: Annotated[str, require("admin")],
    name: Annotated[
        str | None, Query(max_length=64, description="Name to register it under; default: that of its task.")
    ] = None,
    promote: Literal["if_better", "always", "never"] = "never",
) -> VersionView:
    """Register the zip of a version made elsewhere; refused unless its digests, format and card fit."""
    with tempfile.TemporaryDirectory(prefix="cellgate-import-") as folder:
        path = Path(folder) / "artifact.zip"
        with path.open("wb") as file:
            async for chunk in request.stream():
                await run_in_threadpool(file.write, chunk)
        work = use.registry.import_
        found: VersionView = await run_in_threadpool(lambda: work(path, model=name, promote=promote, by=_who(caller)))
    return found


@router.get("/{name}", responses=responses(404), dependencies=[READING])
def model(name: str, use: Use) -> ModelView:
    """One model."""
    found: ModelView = use.registry.model(name)
    return found


@router.get("/{name}/versions", responses=responses(404), dependencies=[READING])
def versions(name: str, use: Use, page_size: PageSize = 50, page_token: PageToken = "") -> Page[VersionView]:
    """Its versions, newest first."""
    found: Page[VersionView] = use.registry.versions(name, page_size=page_size, page_token=page_token)
    return found


Number = Annotated[int, Field(ge=1, le=2**31 - 1)]


@router.get("/{name}/versions/{version}", responses=responses(404), dependencies=[READING])
def version(name: str, version: Number, use: Use) -> VersionView:
    """One version: its config, its metrics, where it came from."""
    found: VersionView = use.registry.version(name, version)
    return found


@router.delete(
    "/{name}/versions/{version}", status_code=204, responses=responses(404, 409), dependencies=[require("admin")]
)
async def delete(name: str, version: Number, use: Use) -> None:
    """Remove a version that no alias points at."""
    await run_in_threadpool(use.registry.delete, name, version)
    use.loaded.forget(name, version)


@router.get(
    "/{name}/versions/{version}/artifact",
    response_class=Response,
    responses={200: {"content": {"application/zip": {}}}, 304: {"description": "Not modified."}, **responses(404)},
    dependencies=[require("admin")],
)
def artifact(name: str, version: Number, use: Use, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """The version as a zip: data, never code. `ETag` is its SHA-256."""
    view, file = use.registry.open(name, version)
    return streamed(
        file,
        view.digest,
        size=view.bytes,
        filename=f"{name}-{version}.zip",
        media_type="application/zip",
        if_none_match=if_none_match,
    )


@router.get(
    "/{name}/versions/{version}/export",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}, **responses(404, 409)},
    dependencies=[require("admin")],
)
def export(name: str, version: Number, use: Use, format: Literal["onnx"] = "onnx") -> Response:  # noqa: A002
    """The network alone, for another runtime; 409 where it has no exact form there."""
    headers = {"Content-Disposition": f'attachment; filename="{name}-{version}.onnx"'}
    return Response(use.registry.onnx(name, version), media_type="application/octet-stream", headers=headers)


@router.put("/{name}/aliases/{alias}", responses=responses(404))
async def set_alias(
    name: str, alias: str, body: Pointed, use: Use, caller: Annotated[str, require("admin")]
) -> ModelView:
    """Point an alias at a version; answers come from it as soon as it is loaded and checked."""
    registry = use.registry
    found: ModelView = await run_in_threadpool(lambda: registry.set_alias(name, alias, body.version, by=_who(caller)))
    await use.loaded.refresh()
    return found


@router.post("/{name}/rollback", responses=responses(404, 409))
async def rollback(name: str, body: RolledBack, use: Use, caller: Annotated[str, require("admin")]) -> ModelView:
    """Point an alias at what it was before."""
    registry = use.registry
    found: ModelView = await run_in_threadpool(lambda: registry.rollback(name, body.alias, by=_who(caller)))
    await use.loaded.refresh()
    return found


@router.get("/{name}/history", responses=responses(404), dependencies=[READING])
def history(name: str, use: Use) -> History:
    """What was live when, and who moved it; latest first."""
    return History(items=use.registry.history(name))


@router.post("/{ref}/load", responses=responses(404, 409), dependencies=[require("admin")])
async def load(
    ref: str,
    use: Use,
    body: Annotated[Loading | None, Body(openapi_examples={"pinned": {"value": {"pinned": True}}})] = None,
) -> LoadedView:
    """Bring a version into memory now, and keep it so until it is unloaded; without a body, as it was kept before."""
    served = await use.loaded.load(ref, None if body is None else Keeping(**body.model_dump()))
    return LoadedView(
        model=served.version.model,
        version=served.version.version,
        device=served.devices[0],
        devices=served.devices,
        weights=served.predictor.weights,
        memory=served.memory,
        pinned=served.keeping.pinned,
    )


@router.post("/{ref}/unload", status_code=204, responses=responses(404, 409), dependencies=[require("admin")])
async def unload(ref: str, use: Use) -> None:
    """Take a version out of memory."""
    await use.loaded.unload(ref)


@router.get("/{ref}/stats", responses=responses(404), dependencies=[require("predict")])
async def stats(ref: str, use: Use) -> dict[str, Any]:
    """What a version has done since it was loaded."""
    found: dict[str, Any] = await use.loaded.stats(ref)
    return found
