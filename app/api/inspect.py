"""A look inside the gates over HTTP. Knows schemas and the use case; no tensors."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.api.deps import Use, require
from app.api.problems import responses
from models import catalog

router = APIRouter(prefix="/v1/models", tags=["models"])

Steps = list[list[float]]
"""[T][H]: a value per step and unit."""


class Inspected(BaseModel):
    """The item to read."""

    model_config = ConfigDict(extra="forbid")

    input: Any = Field(description="An item of the model's task.")


class Layer(BaseModel):
    """One layer in one direction, step by step."""

    layer: int
    direction: str = Field(examples=["forward"])
    cell: str = Field(examples=["lstm"])
    gates: dict[str, Steps] = Field(description="lstm: input, forget, cell, output; gru: reset, update, new.")
    hidden: Steps
    memory: Steps | None = Field(description="null for cells without a memory.")
    memory_half_life: list[float | None]


class Saturation(BaseModel):
    """How often a gate is nearly shut or nearly open."""

    left: float = Field(description="Share of its values below 0.1.")
    right: float = Field(description="Share of its values above 0.9.")


class Gates(BaseModel):
    """What the gates say while the encoder reads."""

    layers: list[Layer]
    steps: list[str] = Field(description="What is read at each step.")
    saturation: dict[str, Saturation]
    memory_half_life: list[float | None] = Field(
        description="Of the first layer's units: steps until the memory halves; null where it does not fade."
    )


@router.post("/{ref}/gates", responses=responses(404, 504), dependencies=[require("predict")])
async def gates(
    ref: str,
    body: Annotated[Inspected, Body(openapi_examples={"sentiment": {"value": {"input": "I loved this movie!"}}})],
    use: Use,
) -> Gates:
    """What each gate of the model's encoder says at each step of one item; takes some seconds, for torch is loaded."""
    version, folder = await use.inspections.version(ref)
    try:
        catalog.card(version.task).parse_item(body.input)
    except ValidationError as error:
        faults = [{**each, "loc": ("body", "input", *each["loc"])} for each in error.errors(include_url=False)]
        raise RequestValidationError(faults, body={"input": body.input}) from None
    return Gates.model_validate(await use.inspections.gates(folder, body.input))
