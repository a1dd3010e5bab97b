"""Routes that FastAPI documents and that are answered without its detours. Knows requests, no task.

FastAPI parses a body to objects, validates them, and validates and encodes what comes back: 65 to 100 microseconds a
request (benchmarks/serving.py), as much as a small network's forward pass. Here the body is validated once, from
its bytes, and the endpoint answers a response. Its signature is documented as ever; a body alone and headers may
stand in it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool

from app.api.deps import refuse_unknown, services
from app.api.middleware import Direct


class LeanRoute(APIRoute):
    """A route whose endpoint takes `http`, `body`, `use`, `caller` and optional headers."""

    scope = "predict"

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        body: type[BaseModel] = self.dependant.body_params[0].field_info.annotation  # type: ignore[assignment]
        headers = [
            (each.name, each.alias.encode(), TypeAdapter[Any](cast("Any", each.field_info.annotation)))
            for each in self.dependant.header_params
        ]

        async def handle(request: Request) -> Response:
            use = services(request)
            sent = dict(reversed(request.scope["headers"]))  # of a header that stands there twice, the first
            given = _text(sent.get(b"authorization"))
            caller = use.keys.known(given, self.scope)
            if caller is None:
                caller = await run_in_threadpool(use.keys.check, given, self.scope)
            if request.scope["query_string"]:
                refuse_unknown(request, set())
            wanted = {name: _header(sent, alias, limits) for name, alias, limits in headers}
            media_type = _text(sent.get(b"content-type"))
            parsed = await use.predictions.read(lambda whole: _body(body, whole, media_type), await request.body())
            answer: Response = await self.endpoint(http=request, body=parsed, use=use, caller=caller, **wanted)
            return answer

        return handle


def direct(router: APIRouter) -> Direct:
    """Every lean route of a router by its path."""
    return {route.path: route.get_route_handler() for route in router.routes if isinstance(route, LeanRoute)}


def _text(header: bytes | None) -> str | None:
    return None if header is None else header.decode("latin-1")


def _header(sent: Mapping[bytes, bytes], name: bytes, limits: TypeAdapter[Any]) -> Any:
    given = _text(sent.get(name))
    if given is None:
        return None
    try:
        return limits.validate_python(given)
    except ValidationError as error:
        found = error.errors(include_url=False)
        raise RequestValidationError([{**each, "loc": ("header", name.decode())} for each in found]) from None


def _body(shape: type[BaseModel], sent: bytes, media_type: str | None) -> BaseModel:
    """The body as its model. Raises `RequestValidationError`, with what was sent, to find places in."""
    try:
        if _json(media_type):
            return shape.model_validate_json(sent)
    except ValidationError:
        pass  # said below, with places in what was sent
    value = _parsed(sent) if _json(media_type) else sent
    if not sent:
        raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": "Field required"}])
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        found = [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False)]
        raise RequestValidationError(found, body=value) from None


def _parsed(sent: bytes) -> Any:
    try:
        return json.loads(sent) if sent else None
    except (ValueError, RecursionError) as error:
        detail = error.msg if isinstance(error, json.JSONDecodeError) else "JSON decode error"
        raise RequestValidationError([{"type": "json_invalid", "loc": ("body",), "msg": detail}]) from None


def _json(media_type: str | None) -> bool:
    """Whether a body says that it is JSON; one that says nothing is not."""
    kind = (media_type or "").partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
