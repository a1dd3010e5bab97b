"""Whether the service lives, is ready, and what it counts. Knows no task."""

from __future__ import annotations

from typing import Any, get_args

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from app.api.deps import Use
from app.services.jobs import State

router = APIRouter(tags=["operations"])


class Live(BaseModel):
    """The process answers."""

    status: str = "live"


class Version(BaseModel):
    """What runs here."""

    name: str
    version: str


@router.get("/health/live")
async def live() -> Live:
    """The process answers."""
    return Live()


@router.get("/health/ready", responses={503: {"description": "Not ready; `checks` says why."}})
def ready(use: Use) -> JSONResponse:
    """Whether requests can be answered: the database, the blob store, and the default models that were asked for."""
    checks = use.checks()
    good = all(check == "ok" for check in checks.values())
    body: dict[str, Any] = {"status": "ready" if good else "not ready", "checks": checks}
    return JSONResponse(body, status_code=200 if good else 503)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(use: Use, request: Request) -> Response:
    """Prometheus text."""
    if use.settings.metrics_key:
        use.keys.check(request.headers.get("authorization"), "admin")
    use.metrics.jobs.clear()  # what is gone since the last look is not shown for ever
    counts = use.jobs.counts()
    for state in get_args(State):
        use.metrics.jobs.labels(state).set(counts.get(state, 0))
    use.metrics.sessions.set(len(use.sessions))
    use.metrics.session_bytes.set(use.sessions.bytes)
    use.metrics.versions.told = [served.figures() for served in use.loaded.held()]
    return Response(use.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/version")
async def version(use: Use) -> Version:
    """Name and version of the service."""
    return Version(name="cellgate", version=use.version)
