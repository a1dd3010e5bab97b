"""What tasks there are, with their JSON Schemas. Reads the catalogue; knows no task by name."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field, TypeAdapter
from starlette.concurrency import run_in_threadpool

from app.api.deps import READING, Use, require
from app.api.problems import responses
from app.errors import NotFound
from app.services.registry import ModelView
from models import artifact, catalog
from models.task import Card, StepCard

router = APIRouter(prefix="/v1/tasks", tags=["tasks"])


class StreamView(BaseModel):
    """What a session takes and answers."""

    item: dict[str, Any]
    params: dict[str, Any]
    step: dict[str, Any]
    output: dict[str, Any]
    examples: list[Any]


class TaskView(BaseModel):
    """A task: what it takes, how it is trained, what it answers."""

    name: str
    title: str
    item: dict[str, Any]
    row: dict[str, Any]
    params: dict[str, Any]
    output: dict[str, Any]
    config: dict[str, Any]
    metric: str
    higher_is_better: bool
    examples: list[Any]
    stream: StreamView | None = Field(description="Where a sequence may arrive step by step, in a session.")


class Tasks(BaseModel):
    """Every task."""

    items: list[TaskView]


class Default(BaseModel):
    """The model to answer with."""

    model_config = {"extra": "forbid", "json_schema_extra": {"examples": [{"model": "reviews"}]}}

    model: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")


@cache
def view(name: str) -> TaskView:
    """A card as clients see it."""
    card: Card = catalog.card(name)
    return TaskView(
        name=card.name,
        title=card.title,
        **artifact.schemas(card),
        metric=card.metric,
        higher_is_better=card.higher_is_better,
        examples=list(card.examples),
        stream=None if card.stream is None else _stream(card.stream),
    )


def _stream(card: StepCard) -> StreamView:
    shapes = {"item": card.item, "params": card.params, "step": card.step, "output": card.output}
    schemas = {name: TypeAdapter(shape).json_schema() for name, shape in shapes.items()}
    return StreamView(**schemas, examples=list(card.examples))


@router.get("", responses=responses(), dependencies=[READING])
def tasks() -> Tasks:
    """Every task that this service trains and serves."""
    return Tasks(items=[view(name) for name in catalog.names()])


@router.get("/{task}", responses=responses(404), dependencies=[READING])
def task(task: str) -> TaskView:
    """One task, with the JSON Schemas of all that it takes and answers."""
    if task not in catalog.names():
        raise NotFound(str(catalog.UnknownTask(task)))
    return view(task)


@router.put("/{task}/default", responses=responses(404, 409), dependencies=[require("admin")])
async def set_default(task: str, body: Default, use: Use) -> ModelView:
    """Choose the model that answers when a request names none."""
    found: ModelView = await run_in_threadpool(use.registry.set_default, task, body.model)
    await use.loaded.refresh()
    return found
