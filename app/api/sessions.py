"""Streaming sessions over HTTP: a sequence sent step by step. Knows schemas and the use case; no task by name."""

import functools
import operator
import time
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model

from app.api.deps import Use, require
from app.api.middleware import GONE
from app.api.predict import Answering, unless_gone
from app.api.problems import responses
from app.errors import TooLarge
from app.serving.sessions import SessionView
from models import catalog
from models.task import StepCard

Caller = Annotated[str, require("predict")]
Deadline = Annotated[int | None, Header(ge=1, le=600_000)]


class Begun(BaseModel):
    """What a session begins with."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(max_length=140, description="name, name@alias or name:version; the session keeps the version.")
    params: dict[str, Any] = Field({}, description="Options of every answer, as `stream.params` of the task says.")
    item: dict[str, Any] = Field({}, description="What the sequence says beside its steps: `stream.item` of the task.")


class Session(BaseModel):
    """A session."""

    id: str = Field(examples=["sess_0f3a9c21_..."])
    model: Answering
    steps: int = Field(description="Steps that it has read.")
    bytes: int = Field(description="What it is reckoned to hold in memory.")
    created_at: datetime
    expires_at: datetime = Field(description="When it is over, unless it is used before.")


class Further(BaseModel):
    """The next steps of a sequence."""

    model_config = ConfigDict(extra="forbid")

    inputs: list[Any] = Field(min_length=1, description="Steps in order, each as `stream.step` of the task says.")


def router() -> APIRouter:
    """The routes, with the outputs of every task that answers step by step."""
    made = APIRouter(prefix="/v1/sessions", tags=["sessions"])
    made.add_api_route("", begin, methods=["POST"], status_code=201, responses=responses(404, 409, 504))
    known: Any = {"responses": responses(404, 410)}
    late: Any = {"responses": responses(404, 410, 504)}
    made.add_api_route("/{id}", session, methods=["GET"], **known)
    made.add_api_route("/{id}", end, methods=["DELETE"], status_code=204, **known)
    made.add_api_route("/{id}/fork", fork, methods=["POST"], status_code=201, **late)
    made.add_api_route("/{id}/steps", _steps(), methods=["POST"], response_model=_answered(), **late)
    return made


def _streams() -> dict[str, StepCard]:
    return {name: card.stream for name, card in catalog.cards().items() if card.stream is not None}


async def begin(
    body: Annotated[
        Begun,
        Body(
            openapi_examples={
                "forecasting": {"value": {"model": "sales", "item": {"freq": "M"}, "params": {"horizon": 3}}},
                "anomaly": {"value": {"model": "sensors", "params": {"sensitivity": 0.99}}},
            }
        ),
    ],
    use: Use,
    caller: Caller,
    response: Response,
    x_deadline_ms: Deadline = None,
) -> Session:
    """Begin a session: a sequence of one version of a model that will be sent step by step."""
    deadline = _deadline(use, x_deadline_ms)
    version = await use.sessions.stepping(body.model, deadline=deadline)
    card = _streams()[version.task]
    item = _parsed(card.item, body.item, "item", body)
    params = _parsed(card.params, body.params, "params", body)
    begun = _shown(await use.sessions.begin(version, item=item, params=params, owner=caller, deadline=deadline))
    response.headers["Location"] = f"/v1/sessions/{begun.id}"
    return begun


async def session(id: str, use: Use, caller: Caller) -> Session:  # noqa: A002
    """One session; asking does not keep it from ending."""
    return _shown(use.sessions.get(id, owner=caller))


async def end(id: str, use: Use, caller: Caller) -> None:  # noqa: A002
    """End a session and free what it holds."""
    use.sessions.delete(id, owner=caller)


async def fork(
    id: str,  # noqa: A002
    use: Use,
    caller: Caller,
    response: Response,
    x_deadline_ms: Deadline = None,
) -> Session:
    """Begin another session from where this one stands; the two then go on without each other."""
    forked = _shown(await use.sessions.fork(id, owner=caller, deadline=_deadline(use, x_deadline_ms)))
    response.headers["Location"] = f"/v1/sessions/{forked.id}"
    return forked


def _steps() -> Any:
    examples = {name: {"value": {"inputs": list(card.examples)}} for name, card in _streams().items()}

    async def steps(
        id: str,  # noqa: A002
        http: Request,
        body: Annotated[Further, Body(openapi_examples=examples)],
        use: Use,
        caller: Caller,
        x_deadline_ms: Deadline = None,
    ) -> Any:
        """Send the next steps of a sequence: an output for each, given all before. On an error none of them counts."""
        most = use.settings.max_inputs
        if len(body.inputs) > most:
            raise TooLarge(f"{len(body.inputs)} inputs in one request; at most {most}")
        known = use.sessions.get(id, owner=caller)
        inputs = _parsed(_steps_of(known.version.task), body.inputs, "inputs", body)
        deadline = _deadline(use, x_deadline_ms)
        answer = await unless_gone(http, use.sessions.advance(id, inputs, owner=caller, deadline=deadline))
        if answer is None:
            return Response(status_code=GONE)
        view, outputs = answer
        shown = _shown(view)
        return _answered().model_construct(
            model=shown.model, steps=shown.steps, expires_at=shown.expires_at, outputs=outputs
        )

    return steps


@functools.cache
def _answered() -> type[BaseModel]:
    output: Any = functools.reduce(operator.or_, (card.output for card in _streams().values()), None)
    made: type[BaseModel] = create_model(
        "StepsResponse",
        model=(Answering, ...),
        steps=(int, Field(description="Steps that the session has read, these included.")),
        expires_at=(datetime, ...),
        outputs=(list[output], Field(description="One for each step; null where nothing can be said yet.")),
    )
    return made


@functools.cache
def _steps_of(task: str) -> Any:
    return list[_streams()[task].step]  # type: ignore[misc]


def _parsed(shape: Any, given: Any, name: str, body: BaseModel) -> Any:
    """Part of a body as what a task says it is. Raises FastAPI's `RequestValidationError`."""
    try:
        return _adapter(shape).validate_python(given)
    except ValidationError as error:
        faults = [{**each, "loc": ("body", name, *each["loc"])} for each in error.errors(include_url=False)]
        raise RequestValidationError(faults, body=body.model_dump()) from None


@functools.cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def _deadline(use: Any, x_deadline_ms: int | None) -> float:
    """Until when an answer is of use, on `time.monotonic`."""
    seconds: float = use.settings.request_seconds if x_deadline_ms is None else x_deadline_ms / 1000
    return time.monotonic() + seconds


def _shown(view: SessionView) -> Session:
    version = view.version
    return Session(
        id=view.id,
        model=Answering(name=version.model, version=version.version, task=version.task),
        steps=view.steps,
        bytes=view.bytes,
        created_at=view.created_at,
        expires_at=view.expires_at,
    )
