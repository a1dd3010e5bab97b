"""One typed route per task, made from its card. Knows schemas; no task by name, no tensors."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Body, Header, Request, Response
from pydantic import BaseModel, ConfigDict, Field, create_model

from app.api.deps import Use, require
from app.api.problems import responses
from app.errors import Flaw, Invalid, TooLarge
from models import catalog
from models.task import Card

GONE = 499
"""What the log says of a caller who left; nobody reads the response."""
T = TypeVar("T")


class Answering(BaseModel):
    """The version that answered."""

    name: str
    version: int
    task: str


def router() -> APIRouter:
    """A route for every task of the catalogue."""
    made = APIRouter(prefix="/v1", tags=["predict"])
    for card in catalog.cards().values():
        request, response = _shapes(card)
        made.add_api_route(
            f"/{card.name}",
            _handler(card, request, response),
            methods=["POST"],
            response_model=response,
            name=f"predict_{card.name}",
            summary=card.title,
            responses={**responses(404, 409, 504), **_media(card)},
        )
    return made


def _shapes(card: Card) -> tuple[type[BaseModel], type[BaseModel]]:
    title = card.name.title()
    asked: dict[str, Any] = {
        "inputs": (list[card.item], Field(min_length=1, description="What to predict on.")),  # type: ignore[name-defined]
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


def _handler(card: Card, request: type[BaseModel], response: type[BaseModel]) -> Callable[..., Awaitable[Any]]:
    example = {"inputs": list(card.examples)}

    async def predict(
        http: Request,
        body: Annotated[request, Body(openapi_examples={card.name: {"value": example}})],  # type: ignore[valid-type]
        use: Use,
        _caller: Annotated[str, require("predict")],
        x_deadline_ms: Annotated[int | None, Header(ge=1, le=600_000)] = None,
    ) -> Any:
        most = use.settings.max_inputs
        given: Any = body
        if len(given.inputs) > most:
            raise TooLarge(f"{len(given.inputs)} inputs in one request; at most {most}")
        seconds = use.settings.request_seconds if x_deadline_ms is None else x_deadline_ms / 1000
        form = _form(card, http.headers.get("accept", ""))
        if form is not None and len(given.inputs) > 1:
            flaw = Flaw(detail=f"{form} holds one output; {len(given.inputs)} inputs were sent", pointer="/inputs")
            raise Invalid(flaw.detail, errors=[flaw])
        work = use.predictions.predict(card.name, given.inputs, model=given.model, params=given.params, seconds=seconds)
        answer = await unless_gone(http, work)
        if answer is None:
            return Response(status_code=GONE)
        version, outputs = answer
        if form is not None:
            return Response(card.media[form](outputs[0]), media_type=form)
        answering = Answering(name=version.model, version=version.version, task=version.task)
        return response.model_construct(model=answering, outputs=outputs)

    predict.__doc__ = f"{card.title}: one output per input, in the same order."
    return predict


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """The work's result; None, and the work dropped, when the caller hangs up first."""
    working, leaving = asyncio.create_task(work), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        working.cancel()
        leaving.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
