"""What may be asked of the job system, and the trainings that each request comes down to. Pydantic and the catalogue.

A request of several trainings is a parent: its trainings are child jobs, which any worker may take.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, field_validator

from app.errors import Flaw, Invalid
from models import catalog
from models.task import Cell, Part

NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
Name = Annotated[str, Field(pattern=NAME)]
REFERENCE = r"^[a-z0-9][a-z0-9._-]{0,63}(@[a-z0-9][a-z0-9._-]{0,63}|:[1-9][0-9]{0,8})?$"
"""`name` (its production alias), `name@alias` or `name:version`."""
MOST_RUNS = 100
"""Trainings of one comparison at most."""


class Request(BaseModel):
    """What every request for a training says."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    task: Name = Field(description="Name of the task.")
    dataset: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Id or name of the data set.")
    model: Name = Field(description="Name to register the version under.")
    config: dict[str, Any] = Field(default_factory=dict, description="Options of the task's `config` schema.")
    priority: int = Field(0, ge=-100, le=100, description="Higher ones run first.")
    promote: Literal["if_better", "always", "never"] = Field("if_better", description="When `production` moves to it.")


class TrainRequest(Request):
    """A training to be done."""

    kind: Literal["train"] = "train"
    warm_start: str | None = Field(
        None,
        pattern=REFERENCE,
        description="Version of the same task and shape of network whose weights it begins with.",
    )
    max_seconds: float | None = Field(None, gt=0, le=30 * 86_400, description="Stop learning after this time.")


class CompareRequest(Request):
    """Cells to be compared over the same data, with the same seeds and the same number of epochs."""

    kind: Literal["compare"]
    cells: list[Cell] = Field(min_length=1, max_length=6, description="Cells to compare, each once.")
    seeds: int = Field(
        3, ge=1, le=50, description="Trainings of each cell: `config.seed` (0) and the numbers after it."
    )

    @field_validator("cells")
    @classmethod
    def _each_once(cls, cells: list[Cell]) -> list[Cell]:
        twice = sorted({cell for cell in cells if cells.count(cell) > 1})
        if twice:
            raise ValueError(f"the cell '{twice[0]}' stands twice")
        return cells


class EvaluateRequest(BaseModel):
    """A version to be scored on a part of a data set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["evaluate"]
    model: str = Field(pattern=REFERENCE, description="Version to score: `name`, `name@alias` or `name:version`.")
    dataset: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Id or name of the data set.")
    split: Part = Field("test", description="Part of it that is scored.")
    priority: int = Field(0, ge=-100, le=100, description="Higher ones run first.")


def _kind(value: Any) -> str:
    kind = value.get("kind", "train") if isinstance(value, dict) else getattr(value, "kind", "train")
    return kind if isinstance(kind, str) else ""


JobRequest = Annotated[
    Annotated[TrainRequest, Tag("train")]
    | Annotated[CompareRequest, Tag("compare")]
    | Annotated[EvaluateRequest, Tag("evaluate")],
    Discriminator(
        _kind, custom_error_type="unknown_kind", custom_error_message="`kind` must be 'train', 'compare' or 'evaluate'"
    ),
]


def checked(task: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The whole config of a training, defaults filled in. Raises `Invalid` with the place of each fault."""
    try:
        card = catalog.card(task)
    except catalog.UnknownTask as error:
        flaw = Flaw(detail=str(error), pointer="/task")
        raise Invalid(str(error), errors=[flaw]) from None
    try:
        return card.config.model_validate(config).model_dump(mode="json")
    except ValidationError as error:
        flaws = [
            Flaw(detail=each["msg"], pointer="/config/" + "/".join(str(p) for p in each["loc"][:1]))
            for each in error.errors(include_url=False, include_input=False)
        ]
        raise Invalid(f"the config does not fit the task '{task}'", errors=flaws) from None


def children(request: TrainRequest | CompareRequest | EvaluateRequest) -> list[dict[str, Any]]:
    """The requests of a job's children, each with what it `varies`; none for a job that trains by itself.

    Those of a comparison come seed by seed, so that its cells can be compared before all have run. Patience is
    off unless the config sets it: every run then takes the same steps along the same learning rates, and
    the best of its epochs is kept as ever.
    """
    if not isinstance(request, CompareRequest):
        return []
    if "cell" in request.config:
        flaw = Flaw(detail="name the cells in `cells`: they are what varies", pointer="/config/cell")
        raise Invalid(flaw.detail, errors=[flaw])
    if len(request.cells) * request.seeds > MOST_RUNS:
        detail = f"{len(request.cells)} cells with {request.seeds} seeds are more than {MOST_RUNS} trainings"
        raise Invalid(detail, errors=[Flaw(detail=detail, pointer="/seeds")])
    whole = checked(request.task, request.config)
    if "patience" not in request.config:
        whole["patience"] = whole["epochs"]
    asked = request.model_dump(mode="json", include={"task", "dataset", "model", "priority"})
    varied = [{"cell": cell, "seed": whole["seed"] + turn} for turn in range(request.seeds) for cell in request.cells]
    return [
        {"kind": "train", **asked, "config": checked(request.task, {**whole, **each}), "varies": each}
        for each in varied
    ]
