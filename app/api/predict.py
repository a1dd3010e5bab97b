"""One typed route per task, made from its card. Knows schemas; no task by name, no tensors."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine
from functools import lru_cache
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Body, Header, Request, Response
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model

from app.api.deps import Use, require
from app.api.lean import LeanRoute
from app.api.middleware import GONE
from app.api.problems import responses
from app.errors import Flaw, Invalid, TooLarge
from app.serving.predictions import Asking
from app.settings import MOST_INPUTS
from models import catalog
from models.task import Card

PATIENCE = 0.05
"""Seconds before somebody looks whether the caller is still there."""
Milliseconds = Annotated[int, Field(ge=1, le=600_000)]
DEADLINE = "Milliseconds after which the answer is of no use; then it is a 504. Default: CELLGATE_REQUEST_SECONDS."
BULK = re.compile(r"(^|[,\s])u=[4-7]\b")
"""An urgency below the usual in a `Priority` header (RFC 9218)."""
PRIORITY = "`u=4` to `u=7`: bulk, answered after what is urgent (RFC 9218). Anything else is ignored."
T = TypeVar("T")


class Answering(BaseModel):
    """The version that answered."""

    name: str
    version: int
    task: str


def router() -> APIRouter:
    """A route for every task of the catalogue."""
    made = APIRouter(prefix="/v1", tags=["predict"], route_class=LeanRoute)
    for card in catalog.cards().values():
        request, response = _shapes(card)
        made.add_api_route(
            f"/{card.name}",
            _handler(card, request),
            methods=["POST"],
            response_model=response,
            name=f"predict_{card.name}",
            summary=card.title,
            responses={**responses(404, 409, 504), **_media(card)},
        )
    return made


def _shapes(card: Card) -> tuple[type[BaseModel], type[BaseModel]]:
    title = card.name.title()
    said = "What to predict on; `CELLGATE_MAX_INPUTS` at most."
    asked: dict[str, Any] = {
        "inputs": (list[card.item], Field(min_length=1, max_length=MOST_INPUTS, description=said)),  # type: ignore[name-defined]
        "model": (str | None, Field(None, max_length=140, description="name, name@alias or name:version.")),
        "params": (card.params, Field(default_factory=card.params)),
    }
    answered: dict[str, Any] = {"model": (Answering, ...), "outputs": (list[card.output], ...)}  # type: ignore[name-defined]
    closed = ConfigDict(extra="forbid", allow_inf_nan=False)
    request: type[BaseModel] = create_model(f"{title}Request", __config__=closed, **asked)
    response: type[BaseModel] = create_model(f"{title}Response", **answered)
    return request, response


def _media(card: Card) -> dict[int | str, dict[str, Any]]:
    """The other forms of an answer, for the OpenAPI document."""
    if not card.media:
        return {}
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"content": dict.fromkeys(card.media, binary)}}


def _form(card: Card, accept: str) -> str | None:
    """The media type of the card that a caller asked for by `Accept`; None for JSON."""
    wanted = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    return next((media_type for media_type in wanted if media_type in card.media), None)


def _handler(card: Card, request: type[BaseModel]) -> Callable[..., Awaitable[Any]]:
    example = {"inputs": list(card.examples)}
    encoded = TypeAdapter(list[card.output]).dump_json  # type: ignore[name-defined]

    async def predict(
        http: Request,
        body: Annotated[request, Body(openapi_examples={card.name: {"value": example}})],  # type: ignore[valid-type]
        use: Use,
        caller: Annotated[str, require(LeanRoute.scope)],
        x_deadline_ms: Annotated[Milliseconds | None, Header(description=DEADLINE)] = None,
        priority: Annotated[str | None, Header(description=PRIORITY)] = None,
    ) -> Response:
        most = use.settings.max_inputs
        given: Any = body
        if len(given.inputs) > most:
            raise TooLarge(f"{len(given.inputs)} inputs in one request; at most {most}")
        seconds = use.settings.request_seconds if x_deadline_ms is None else x_deadline_ms / 1000
        form = _form(card, http.headers.get("accept", "")) if card.media else None
        if form is not None and len(given.inputs) > 1:
            flaw = Flaw(detail=f"{form} holds one output; {len(given.inputs)} inputs were sent", pointer="/inputs")
            raise Invalid(flaw.detail, errors=[flaw])
        bulk = priority is not None and bool(BULK.search(priority))
        asking = Asking(caller=caller, seconds=seconds, bulk=bulk, bytes=len(await http.body()))
        work = use.predictions.predict(card.name, given.inputs, model=given.model, params=given.params, asking=asking)
        answer = await unless_gone(http, work)
        if answer is None:
            return Response(status_code=GONE)
        version, outputs = answer
        if form is not None:
            return Response(card.media[form](outputs[0]), media_type=form)
        answering = _answering(version.model, version.version, card.name)
        return Response(_encoded(answering, encoded, outputs), media_type="application/json")

    predict.__doc__ = f"{card.title}: one output per input, in the same order."
    return predict


def _encoded(answering: bytes, encoded: Callable[[list[Any]], bytes], outputs: list[Any]) -> bytes:
    """A whole answer as JSON."""
    return b'{"model":%b,"outputs":%b}' % (answering, encoded(outputs))


@lru_cache(maxsize=256)
def _answering(name: str, version: int, task: str) -> bytes:
    """Who answered, as JSON."""
    return Answering(name=name, version=version, task=task).model_dump_json().encode()


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """The work's result; None, and the work dropped, when the caller hangs up first.

    Nobody looks for that in the first moments: most work is done by then, and looking costs a task.
    """
    leaving = _Leaving(request, asyncio.current_task())
    timer = asyncio.get_running_loop().call_later(PATIENCE, leaving.watch)
    try:
        return await work
    except asyncio.CancelledError:
        if not leaving.gone:
            raise
        return None
    finally:
        timer.cancel()
        leaving.end()


class _Leaving:
    """Waits for the caller's leaving, and cancels the task that works for it."""

    __slots__ = ("_request", "_watching", "_working", "gone")

    def __init__(self, request: Request, working: asyncio.Task[Any] | None) -> None:
        self._request, self._working = request, working
        self._watching: asyncio.Task[None] | None = None
        self.gone = False

    def watch(self) -> None:
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        if self._working is not None:
            self.gone = True
            self._working.cancel()

    def end(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        if self.gone and self._working is not None:
            self._working.uncancel()
