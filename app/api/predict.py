"""One typed route per task, made from its card. Knows schemas; no task by name, no tensors."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header
from pydantic import BaseModel, ConfigDict, Field, create_model

from app.api.deps import Use, require
from app.api.problems import responses
from app.errors import TooLarge
from models import catalog
from models.task import Card


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
            responses=responses(404, 409, 504),
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


def _handler(card: Card, request: type[BaseModel], response: type[BaseModel]) -> Callable[..., Awaitable[Any]]:
    example = {"inputs": list(card.examples)}

    async def predict(
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
        version, outputs = await use.predictions.predict(
            card.name, given.inputs, model=given.model, params=given.params, seconds=seconds
        )
        answering = Answering(name=version.model, version=version.version, task=version.task)
        return response.model_construct(model=answering, outputs=outputs)

    predict.__doc__ = f"{card.title}: one output per input, in the same order."
    return predict
