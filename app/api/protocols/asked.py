"""What every protocol does with a request: key, body, deadline, the caller who leaves. Knows no protocol, no task."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import Depends, Header, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool

from app.api.deps import bearer, services
from app.api.middleware import GONE
from app.api.predict import DEADLINE, Milliseconds, unless_gone
from app.errors import TooLarge
from app.services.registry import Reference
from app.serving.predictions import Asking
from models import catalog

if TYPE_CHECKING:
    from app.serving.loaded import Loaded
    from app.serving.served import Served

T = TypeVar("T")
Shape = TypeVar("Shape", bound=BaseModel)
Deadline = Annotated[Milliseconds | None, Header(alias="X-Deadline-Ms", description=DEADLINE)]


@dataclass(frozen=True, slots=True)
class Call:
    """One request of a client that speaks another protocol; whoever sent it may predict."""

    request: Request
    use: Any
    caller: str
    """The id of its key."""
    seconds: float

    async def read(self, parse: Callable[[bytes], T]) -> T:
        """What the body says; the event loop goes on meanwhile where it is large."""
        found: T = await self.use.predictions.read(parse, await self.request.body())
        return found

    async def served(self, ref: str) -> Served:
        """The version that a reference means now, of any task. Raises `Invalid`, `NotFound`, `Full`, `Late`."""
        loaded: Loaded = self.use.loaded
        served = await loaded.hold(Reference.parse(ref), deadline=time.monotonic() + self.seconds)
        loaded.done(served)
        return served

    async def default(self, task: str, ref: str | None = None) -> Served:
        """The version of a task that a reference means, or the task's default. Raises the same, and `Conflict`."""
        loaded: Loaded = self.use.loaded
        served = await loaded.get(ref, task, deadline=time.monotonic() + self.seconds)
        loaded.done(served)
        return served

    async def outputs(self, task: str, items: Sequence[Any], *, model: str | None, params: dict[str, Any]) -> list[Any]:
        """What a model, or the default model of the task, says of each item. `params` may hold None: as by default.

        Raises what predicting raises, `TooLarge` for too many items and `RequestValidationError` for wrong params.
        """
        most = self.use.settings.max_inputs
        if len(items) > most:
            raise TooLarge(f"{len(items)} inputs in one request; at most {most}")
        given = {name: value for name, value in params.items() if value is not None}
        try:
            options = catalog.card(task).params.model_validate(given)
        except ValidationError as error:
            raise refused(error, "body", body=given) from None
        asking = Asking(caller=self.caller, seconds=self.seconds, bytes=len(await self.request.body()))
        _, outputs = await self.use.predictions.predict(task, items, model=model, params=options, asking=asking)
        found: list[Any] = outputs
        return found

    async def answer(self, work: Coroutine[Any, Any, Response]) -> Response:
        """What comes of some work that needs the body no more; it is dropped when the caller hangs up."""
        answer = await unless_gone(self.request, work)
        return Response(status_code=GONE) if answer is None else answer


async def called(request: Request, key: str | None, deadline: int | None) -> Call:
    """A request as a call, by its `Authorization` or else by the key where its protocol puts one. Raises `Refused`."""
    use: Any = services(request)
    header = request.headers.get("authorization") or (f"Bearer {key}" if key else None)
    caller = use.keys.known(header, "predict")
    if caller is None:
        caller = await run_in_threadpool(use.keys.check, header, "predict")
    seconds = use.settings.request_seconds if deadline is None else deadline / 1000
    return Call(request, use, caller, seconds)


async def _by_bearer(request: Request, _: Annotated[Any, Security(bearer)], deadline: Deadline = None) -> Call:
    return await called(request, None, deadline)


Bearing = Annotated[Call, Depends(_by_bearer)]
"""A call by clients that send `Authorization: Bearer <key>`."""


def shaped(shape: type[Shape]) -> Callable[[bytes], Shape]:
    """What reads a body of JSON as a shape. Raises `RequestValidationError`."""

    def parse(sent: bytes) -> Shape:
        try:
            return shape.model_validate_json(sent)
        except ValidationError as error:
            raise refused(error, "body", body=_or_none(sent)) from None

    return parse


def refused(error: ValidationError, *place: str | int, body: Any = None) -> RequestValidationError:
    """A fault of something at a place of the request."""
    found = [{**each, "loc": (*place, *each["loc"])} for each in error.errors(include_url=False)]
    return RequestValidationError(found, body=body)


def _or_none(sent: bytes) -> Any:
    try:
        return json.loads(sent)
    except (ValueError, RecursionError):
        return None


def documented(shape: type[BaseModel], example: Any) -> dict[str, Any]:
    """What the OpenAPI document says of a body of JSON that `shaped` reads."""
    whole = shape.model_json_schema()
    schema = _inlined(whole, whole.pop("$defs", {}))
    kind = {"schema": schema, "examples": {"asked": {"value": example}}}
    return {"requestBody": {"required": True, "content": {"application/json": kind}}}


def _inlined(schema: Any, shapes: dict[str, Any]) -> Any:
    """A schema with its references filled in: they would lead nowhere within a larger document."""
    if isinstance(schema, list):
        return [_inlined(each, shapes) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(shapes[schema["$ref"].rpartition("/")[2]], shapes)
    return {name: _inlined(each, shapes) for name, each in schema.items()}
