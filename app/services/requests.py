"""What may be asked of the job system. Pydantic and the catalogue; no job, no table."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, field_validator

from app.errors import Flaw, Invalid
from models import catalog
from models.faults import told
from models.task import Cell, Part

NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
Name = Annotated[str, Field(pattern=NAME)]
REFERENCE = r"^[a-z0-9][a-z0-9._-]{0,63}(@[a-z0-9][a-z0-9._-]{0,63}|:[1-9][0-9]{0,8})?$"
"""`name` (its production alias), `name@alias` or `name:version`."""
MOST_RUNS = 100
"""Trainings of one comparison, or trials of one study, at most."""


class Needs(BaseModel):
    """What a job needs of the device that it runs on; it waits for a worker that has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: str | None = Field(
        None,
        pattern=r"^(cpu|mps|cuda(:[0-9]{1,2})?)$",
        description="A device or a kind of device; default: the fastest kind that the worker has.",
    )
    memory: int = Field(0, ge=0, le=2**50, description="Bytes that must be free there.")


class Request(BaseModel):
    """What every request for a training says."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    task: Name = Field(description="Name of the task.")
    dataset: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Id or name of the data set.")
    model: Name = Field(description="Name to register the version under.")
    config: dict[str, Any] = Field(default_factory=dict, description="Options of the task's `config` schema.")
    priority: int = Field(0, ge=-100, le=100, description="Higher ones run first.")
    promote: Literal["if_better", "always", "never"] = Field("if_better", description="When `production` moves to it.")
    needs: Needs | None = Field(None, description="The device and the memory that it needs.")


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


class Range(BaseModel):
    """Numbers from one bound to the other, both included; whole ones where the option is a whole number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    low: int | float = Field(description="The least.")
    high: int | float = Field(description="The most.")
    log: bool = Field(False, description="Spread trials evenly over orders of magnitude; `low` is then above 0.")


def _choices_or_range(value: Any) -> str:
    return "choices" if isinstance(value, list) else "range"


Search = Annotated[
    Annotated[list[Any], Field(min_length=1, max_length=50), Tag("choices")] | Annotated[Range, Tag("range")],
    Discriminator(_choices_or_range),
]
"""Where the best value of one option is looked for: among choices, or in a range of numbers."""


class TuneRequest(Request):
    """Options to be found: trials that learn from each other, the best of which becomes a version."""

    kind: Literal["tune"]
    search: dict[str, Search] = Field(
        min_length=1,
        max_length=20,
        description="Options of `config` to vary: a list of choices, or a range of numbers.",
    )
    trials: int = Field(
        20, ge=1, le=MOST_RUNS, description="Trainings at most; never more than there are combinations."
    )
    seed: int = Field(
        0, ge=0, le=2**31 - 1, description="Seed of what is tried; that of each training is `config.seed`."
    )


class EvaluateRequest(BaseModel):
    """A version to be scored on a part of a data set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["evaluate"]
    model: str = Field(pattern=REFERENCE, description="Version to score: `name`, `name@alias` or `name:version`.")
    dataset: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Id or name of the data set.")
    split: Part = Field("test", description="Part of it that is scored.")
    priority: int = Field(0, ge=-100, le=100, description="Higher ones run first.")
    needs: Needs | None = Field(None, description="The device and the memory that it needs.")


class PredictRequest(BaseModel):
    """Every row of a data set to be answered by a version."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: Literal["predict"]
    model: str = Field(pattern=REFERENCE, description="Version to ask: `name`, `name@alias` or `name:version`.")
    dataset: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Id or name of the data set.")
    split: Part | None = Field(None, description="Answer the rows of this part alone; default: every row.")
    params: dict[str, Any] = Field(default_factory=dict, description="Options of the task's `params` schema.")
    priority: int = Field(0, ge=-100, le=100, description="Higher ones run first.")
    needs: Needs | None = Field(None, description="The device and the memory that it needs.")


def _kind(value: Any) -> str:
    kind = value.get("kind", "train") if isinstance(value, dict) else getattr(value, "kind", "train")
    return kind if isinstance(kind, str) else ""


JobRequest = Annotated[
    Annotated[TrainRequest, Tag("train")]
    | Annotated[CompareRequest, Tag("compare")]
    | Annotated[TuneRequest, Tag("tune")]
    | Annotated[EvaluateRequest, Tag("evaluate")]
    | Annotated[PredictRequest, Tag("predict")],
    Discriminator(
        _kind,
        custom_error_type="unknown_kind",
        custom_error_message="`kind` must be 'train', 'compare', 'tune', 'evaluate' or 'predict'",
    ),
]

AnyRequest = TrainRequest | CompareRequest | TuneRequest | EvaluateRequest | PredictRequest


def checked(task: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The whole config of a training, defaults filled in. Raises `Invalid` with the place of each fault."""
    try:
        card = catalog.card(task)
    except catalog.UnknownTask as error:
        flaw = Flaw(detail=str(error), pointer="/task")
        raise Invalid(str(error), errors=[flaw]) from None
    return _filled(card.config, config, of="config", task=task)


def params_of(task: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a bulk prediction, defaults filled in; a seed that is not given is drawn, so that the job gives
    the same answers however often it is interrupted. Raises `Invalid` with the place of each fault."""
    whole = _filled(catalog.card(task).params, params, of="params", task=task)
    if "seed" in whole and whole["seed"] is None:
        whole["seed"] = secrets.randbelow(2**31)
    return whole


def _filled(shape: type[BaseModel], given: Mapping[str, Any], *, of: str, task: str) -> dict[str, Any]:
    try:
        return shape.model_validate(given).model_dump(mode="json")
    except ValidationError as error:
        found = told(((of, *each["loc"][:1]), each) for each in error.errors(include_url=False))
        flaws = [Flaw(detail=detail, pointer="".join(f"/{step}" for step in place)) for place, detail in found]
        raise Invalid(f"the {of} do{'' if of == 'params' else 'es'} not fit the task '{task}'", errors=flaws) from None
