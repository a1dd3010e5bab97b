"""What routes depend on: the services, the caller's key, pages; and the middleware around them all."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from typing import TYPE_CHECKING, Annotated, Any

import structlog
from fastapi import Depends, FastAPI, Query, Request, Security
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import METHODS, problem
from app.errors import Flaw, Invalid

if TYPE_CHECKING:
    from app.factory import Services

access = structlog.get_logger("cellgate.access")

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
UPLOADS = ("/v1/datasets", "/v1/vectors", "/v1/models/import")
"""Routes whose body streams to disk, within a limit of their own."""

bearer = HTTPBearer(auto_error=False, description="An API key. None is needed on loopback until one exists.")


def services(request: Request) -> Services:
    """The services that the app was made with."""
    found: Services = request.app.state.services
    return found


Use = Annotated[Any, Depends(services)]


def require(scope: str) -> Any:
    """A dependency: the caller's key must have a scope. Gives the key's id."""

    def check(request: Request, _: Annotated[Any, Security(bearer)] = None) -> str:
        refuse_unknown(request, {field.alias for field in request.scope["route"].dependant.query_params})
        key: str = services(request).keys.check(request.headers.get("authorization"), scope)
        return key

    return Depends(check)


def refuse_unknown(request: Request, known: set[str]) -> None:
    """A query parameter that no route reads is a mistake, not a wish. Raises `Invalid`."""
    unknown = sorted(set(request.query_params) - known)
    if unknown:
        flaws = [
            Flaw(
                detail=f"unknown query parameter; known: {', '.join(sorted(known)) or 'none'}", pointer=f"/{name[:60]}"
            )
            for name in unknown
        ]
        raise Invalid("the query has a parameter that this route does not know", errors=flaws)


PageSize = Annotated[int, Query(ge=1, le=1000, description="Items of a page at most.")]
PageToken = Annotated[str, Query(max_length=400, description="`next_page_token` of the page before.")]


class Middleware:
    """Around every request: its id, its size, its time, its line in the log. Pure ASGI: nothing is buffered."""

    def __init__(self, app: ASGIApp, owner: FastAPI) -> None:
        self.app, self.owner = app, owner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500
        request = Request(scope)
        given = request.headers.get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        request.state.request_id = request_id

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", []).append((b"x-request-id", request_id.encode()))
            await send(message)

        limit = self._limit(request.url.path, request.method)
        try:
            if (refused := _no_address(request)) is not None:
                await refused(scope, receive, answer)
            else:
                await self._within(limit, request, scope, receive, answer)
        finally:
            self._noted(request, scope, status, time.perf_counter() - began, request_id)

    def _limit(self, path: str, method: str) -> int:
        settings = self.owner.state.services.settings
        return settings.max_body if method == "POST" and path in UPLOADS else settings.max_json  # type: ignore[no-any-return]

    async def _within(self, limit: int, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        length = request.headers.get("content-length", "0")
        refused = problem(request, 413, f"the body may have {limit} bytes at most", kind="too-large")
        if length.isdecimal() and int(length) > limit:
            await refused(scope, receive, send)
            return
        seen, begun, whole = 0, False, False
        ends = time.monotonic() + self.owner.state.services.settings.upload_seconds

        async def bounded() -> Message:
            nonlocal seen, whole
            # Once the body is there, a route may wait for the caller's leaving as long as it likes.
            late = None if begun or whole else max(0.0, ends - time.monotonic())
            message = await (receive() if late is None else asyncio.wait_for(receive(), late))
            whole = whole or not message.get("more_body", False)
            seen += len(message.get("body", b""))
            if seen > limit:
                raise _TooLarge
            return message

        async def noticed(message: Message) -> None:
            nonlocal begun
            if seen > limit and not begun:
                return  # whatever the app makes of a body that was cut, it was too large
            begun = True
            await send(message)

        try:
            await self.app(scope, bounded, noticed)
        except _TooLarge:
            pass
        except TimeoutError:
            if not begun:
                await problem(request, 408, "the body did not arrive in time")(scope, receive, send)
        if seen > limit and not begun:
            await refused(scope, receive, send)

    def _noted(self, request: Request, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        route = getattr(scope.get("route"), "path", "unknown")
        metrics = self.owner.state.services.metrics
        method = request.method if request.method in METHODS else "other"  # a caller may make up any number of them
        metrics.requests.labels(method, route, status).inc()
        metrics.seconds.labels(route).observe(seconds)
        access.info(
            "request",
            method=method,
            route=route,
            status=status,
            ms=round(seconds * 1000, 1),
            request_id=request_id,
        )


def _no_address(request: Request) -> JSONResponse | None:
    """A problem where the address has a NUL, which no name has and not every database takes."""
    if "\x00" in request.url.path:
        return problem(request, 404, "no address has a NUL character")
    if any("\x00" in name + value for name, value in request.query_params.multi_items()):
        return problem(request, 422, "no query parameter has a NUL character", kind="invalid")
    return None


class _TooLarge(Exception):
    pass
