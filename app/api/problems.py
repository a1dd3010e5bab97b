"""Errors as RFC 9457 problems, or as another protocol says them: the one place that knows status codes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app import errors
from app.api.dialects import sentence, spoken
from app.errors import Busy, CellgateError, Flaw, Invalid
from models.faults import Place as Where
from models.faults import said, told, within

log = structlog.get_logger("cellgate.api")

MEDIA_TYPE = "application/problem+json"
SHOWN = 20
LOOKED_AT = 500
"""Faults that are put into words; a body may hold millions."""
PROBLEM = {"$ref": "#/components/schemas/Problem"}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")

STATUS: dict[type[CellgateError], int] = {
    errors.Invalid: 422,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.TooLarge: 413,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.Limited: 429,
    errors.Full: 503,
    errors.Away: 503,
    errors.Late: 504,
}


class Place(BaseModel):
    """One fault of a request."""

    detail: str
    pointer: str | None = Field(None, description="JSON pointer into the request.")
    line: int | None = Field(None, description="Line of the file, from 1.")


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(examples=["/problems/not-found"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["no model 'reviews'"])
    instance: str
    request_id: str
    errors: list[Place] | None = None
    faults: int | None = Field(None, description="How many faults there are in all; `errors` names the first.")


EXAMPLES = {
    400: ("not-json", "the body is not JSON"),
    401: ("unauthenticated", "a key is needed: send `Authorization: Bearer <key>`"),
    403: ("forbidden", "this key may predict; the scope 'train' is needed"),
    404: ("not-found", "no model 'reviews'"),
    409: ("conflict", "the model 'sales' is for forecasting, not sentiment"),
    410: ("gone", "the session is over"),
    413: ("too-large", "the body may have 16777216 bytes at most"),
    422: ("invalid", "the request does not fit the schema"),
    429: ("limited", "this key has too many requests in flight"),
    500: ("internal", "the service failed; its log has the cause under this request_id"),
    503: ("full", "1024 items wait for 'reviews' already"),
    504: ("late", "the deadline passed before the request's turn"),
}
"""What problems of each status look like in the API documents: type and detail."""


def responses(*statuses: int, under: str = "/v1") -> dict[int | str, dict[str, Any]]:
    """The errors that a route of a prefix may answer, for the OpenAPI document."""
    ours = sorted({*statuses, 400, 401, 403, 413, 422, 429, 500, 503})
    dialect = spoken(under)
    if dialect is None:
        return {status: _documented(status, MEDIA_TYPE, PROBLEM, _example(status)) for status in ours}
    shown: dict[int | str, dict[str, Any]] = {}
    for status in sorted({dialect.status(each) for each in ours}):
        example = dialect.body(status, _example(status)["detail"], ())
        fields = {name: {"type": "string"} for name in example}
        schema = {"type": "object", "required": list(fields), "properties": fields}
        shown[status] = _documented(status, "application/json", schema, example)
    return shown


def _documented(status: int, kind: str, schema: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    return {"description": HTTPStatus(status).phrase, "content": {kind: {"schema": schema, "example": example}}}


def _example(status: int) -> dict[str, Any]:
    title = HTTPStatus(status).phrase
    kind, detail = EXAMPLES.get(status, (title.lower().replace(" ", "-"), title.lower()))
    places = {"errors": [{"detail": "it is empty", "pointer": "/inputs/0"}], "faults": 1} if status == 422 else {}
    place = {"instance": "/v1/sentiment", "request_id": "6b1f0c9e2d7a4458"}
    return {"type": f"/problems/{kind}", "title": title, "status": status, "detail": detail, **place, **places}


class ProblemResponse(JSONResponse):
    """A problem may quote what was sent, even where that is half a character."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def problem(
    request: Request,
    status: int,
    detail: str,
    *,
    kind: str | None = None,
    flaws: Sequence[Flaw] = (),
    faults: int | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """One problem as a response, in the dialect of the address."""
    dialect = spoken(request.url.path)
    if dialect is not None:
        told = dialect.status(status)
        return ProblemResponse(dialect.body(told, sentence(detail, flaws), flaws), status_code=told, headers=headers)
    phrase = HTTPStatus(status).phrase
    request_id = getattr(request.state, "request_id", "")
    body: dict[str, Any] = {
        "type": f"/problems/{kind or phrase.lower().replace(' ', '-')}",
        "title": phrase,
        "status": status,
        "detail": detail,
        "instance": request.url.path,
        "request_id": request_id,
    }
    if flaws:
        body["errors"] = [
            {k: v for k, v in (("detail", f.detail), ("pointer", f.pointer), ("line", f.line)) if v is not None}
            for f in flaws
        ]
        body["faults"] = faults if faults is not None else len(flaws)
    return ProblemResponse(body, status_code=status, headers=headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Every error of every route becomes a problem."""
    app.add_exception_handler(CellgateError, _ours)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)


async def answered(request: Request, error: Exception) -> JSONResponse:
    """The same for what no router answers."""
    if isinstance(error, CellgateError):
        return await _ours(request, error)
    if isinstance(error, RequestValidationError):
        return await _validation(request, error)
    return _failed(request, error)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, CellgateError)  # noqa: S101  for the type checker: the handler is registered so
    headers = {}
    if isinstance(error, Busy):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    flaws, faults = (error.errors, error.faults) if isinstance(error, Invalid) else ((), None)
    status = STATUS[type(error)]
    return problem(request, status, error.detail, kind=error.type, flaws=flaws, faults=faults, headers=headers)


async def _validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101  as above
    found = error.errors()
    placed = [_placed(each, error.body) for each in found[:LOOKED_AT]]
    if found and found[0]["type"] == "json_invalid":
        flaw = Flaw(detail=said(found[0]).removeprefix("not JSON: "), pointer="")
        return problem(request, 400, "the body is not JSON", kind="not-json", flaws=[flaw])
    flaws = [_flaw(place, sentence) for place, sentence in told(placed)]
    detail = "the request does not fit the schema"
    faults = len(found) if len(found) > LOOKED_AT else len(flaws)
    return problem(request, 422, detail, kind="invalid", flaws=flaws[:SHOWN], faults=faults)


def _placed(error: dict[str, Any], body: Any) -> tuple[Where, dict[str, Any]]:
    """Pydantic's place: the part of the request, then the steps into it without the names of union branches."""
    where, *place = error["loc"] or ("body",)
    steps: Sequence[Any] = within(place, error, body) if where == "body" else place
    return (where, *steps), error


def _flaw(place: Where, sentence: str) -> Flaw:
    """A place in a request as a JSON pointer."""
    where, *steps = place
    pointer = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)
    return Flaw(detail=sentence if where == "body" else f"{where}: {sentence}", pointer=pointer)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101  as above
    headers = dict(error.headers) if error.headers else {}
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(_methods(request)))
    details = {404: f"nothing is at {request.url.path[:200]}", 405: f"{request.method} is not allowed here"}
    return problem(request, error.status_code, details.get(error.status_code, str(error.detail)), headers=headers)


def _methods(request: Request) -> set[str]:
    """What may be asked of an address: every route of it, not the first alone."""
    return {
        method
        for method in METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    }


async def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    response = _failed(request, error)
    response.headers["X-Request-ID"] = getattr(request.state, "request_id", "")  # sent around the middleware
    return response


def _failed(request: Request, error: Exception) -> JSONResponse:
    log.error(
        "unforeseen error",
        path=request.url.path,
        request_id=getattr(request.state, "request_id", ""),
        exc_info=error,
    )
    detail = "the service failed; its log has the cause under this request_id"
    return problem(request, 500, detail, kind="internal")
