"""Around every request: its id, its size, its time, its line in the log. Knows no route but those that stream.

Pure ASGI: nothing is buffered. What has an address of its own in `direct` is answered without the router.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.compression import Shrinking, takes_gzip
from app.api.problems import METHODS, answered, problem
from app.log import requests

if TYPE_CHECKING:
    from app.factory import Services

GONE = 499
"""What the log says of a caller who left; nobody reads the response."""
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
UPLOADS = ("/v1/datasets", "/v1/vectors", "/v1/models/import")
"""Routes whose body streams to disk, within a limit of their own."""

Answer = Callable[[Request], Awaitable[Response]]
Direct = Mapping[str, Answer]
"""What answers a POST to an address, keys and all; its errors become problems here."""


class Middleware:
    """Around every request. What `direct` has an address of is answered without the router."""

    def __init__(self, app: ASGIApp, services: Services, direct: Direct) -> None:
        self.app, self.services, self.direct = app, services, direct
        self._access = requests(services.settings).bind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        given, length, shrinks = _asked(scope)
        request_id = given if given and REQUEST_ID.fullmatch(given) else f"{random.getrandbits(64):016x}"
        scope.setdefault("state", {})["request_id"] = request_id
        path, posted = scope["path"], scope["method"] == "POST"
        settings = self.services.settings
        limit = settings.max_body if posted and path in UPLOADS else settings.max_json
        sending = Shrinking(send) if shrinks else send
        exchange = _Exchange(receive, sending, limit, settings.upload_seconds, request_id)
        direct = self.direct.get(path) if posted else None
        try:
            if (refused := _no_address(scope)) is not None:
                await refused(scope, receive, exchange.send)
            elif length.isdecimal() and int(length) > limit:
                await _too_large(scope, limit)(scope, receive, exchange.send)
            else:
                await self._within(scope, exchange, direct)
        finally:
            route = getattr(scope.get("route"), "path", "unknown") if direct is None else path
            self._noted(scope["method"], route, exchange.status, time.perf_counter() - began, request_id)

    async def _within(self, scope: Scope, exchange: _Exchange, direct: Answer | None) -> None:
        """Answer a request whose body may turn out too large or too slow."""
        try:
            if direct is None:
                await self.app(scope, exchange.receive, exchange.send)
            else:
                await _directly(direct, scope, exchange)
        except _TooLarge:
            pass
        except TimeoutError:
            if not exchange.begun:
                late = problem(Request(scope), 408, "the body did not arrive in time")
                await late(scope, exchange.receive, exchange.send)
        if exchange.cut:
            exchange.seen = 0
            await _too_large(scope, exchange.limit)(scope, exchange.receive, exchange.send)

    def _noted(self, method: str, route: str, status: int, seconds: float, request_id: str) -> None:
        known = method if method in METHODS else "other"  # a caller may make up any number of them
        self.services.metrics.answered(known, route, status, seconds)
        self._access.info(
            "request", method=known, route=route, status=status, ms=round(seconds * 1000, 1), request_id=request_id
        )


class _Exchange:
    """One request on its way: its body within its limits, and its answer with its id."""

    __slots__ = ("_id", "_receive", "_send", "_within", "begun", "limit", "seen", "status", "whole")

    def __init__(self, receive: Receive, send: Send, limit: int, seconds: float, request_id: str) -> None:
        self._receive, self._send, self._id = receive, send, request_id
        self.limit, self._within = limit, asyncio.get_running_loop().time() + seconds
        self.seen, self.status = 0, 500
        self.begun = self.whole = False

    @property
    def cut(self) -> bool:
        """Whether the body was too large and nobody has said so."""
        return self.seen > self.limit and not self.begun

    async def receive(self) -> Message:
        if self.begun or self.whole:  # a route may wait for the caller's leaving as long as it likes
            return await self._receive()
        async with asyncio.timeout_at(self._within):
            message = await self._receive()
        self.whole = not message.get("more_body", False)
        self.seen += len(message.get("body", b""))
        if self.seen > self.limit:
            raise _TooLarge
        return message

    async def send(self, message: Message) -> None:
        if self.cut:
            return  # whatever the app makes of a body that was cut, it was too large
        self.begun = True
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message.setdefault("headers", []).append((b"x-request-id", self._id.encode()))
        await self._send(message)


class _Request(Request):
    """A request whose body mostly came with its head: it is read without a generator."""

    _whole: bytes | None = None

    async def body(self) -> bytes:
        if self._whole is None:
            message = await self.receive()
            parts = [message.get("body", b"")]
            while message.get("more_body", False):
                message = await self.receive()
                parts.append(message.get("body", b""))
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            self._whole = parts[0] if len(parts) == 1 else b"".join(parts)
        return self._whole


async def _directly(answer: Answer, scope: Scope, exchange: _Exchange) -> None:
    request = _Request(scope, exchange.receive)
    try:
        response = await answer(request)
    except (_TooLarge, TimeoutError):
        raise
    except ClientDisconnect:  # nobody reads what comes
        response = Response(status_code=GONE)
    except Exception as error:
        response = await answered(request, error)
    await response(scope, exchange.receive, exchange.send)


def _asked(scope: Scope) -> tuple[str, str, bool]:
    """The request's own id, its declared length as sent, and whether its answer may be compressed."""
    given, length, codings = b"", b"0", []
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            given = value
        elif name == b"content-length":
            length = value
        elif name == b"accept-encoding":
            codings.append(value)
    return given.decode("latin-1"), length.decode("latin-1"), bool(codings) and takes_gzip(codings)


def _too_large(scope: Scope, limit: int) -> JSONResponse:
    return problem(Request(scope), 413, f"the body may have {limit} bytes at most", kind="too-large")


def _no_address(scope: Scope) -> JSONResponse | None:
    """A problem where the address has a NUL, which no name has and not every database takes."""
    if "\x00" in scope["path"]:
        return problem(Request(scope), 404, "no address has a NUL character")
    if scope["query_string"]:
        request = Request(scope)
        if any("\x00" in name + value for name, value in request.query_params.multi_items()):
            return problem(request, 422, "no query parameter has a NUL character", kind="invalid")
    return None


class _TooLarge(Exception):
    pass
