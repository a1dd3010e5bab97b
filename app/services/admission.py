"""What a request must fit before it is queued: data set, model, version. Knows tables and cards; no HTTP, no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.db.repositories.datasets import DatasetRepository
from app.db.repositories.models import ModelRepository
from app.db.repositories.vectors import VectorRepository
from app.db.tables import Dataset
from app.errors import Conflict, Flaw, Invalid, NotFound
from app.services.registry import Reference, VersionView, resolved
from app.services.requests import (
    AnyRequest,
    EvaluateRequest,
    PredictRequest,
    TrainRequest,
    TuneRequest,
    checked,
    params_of,
)

FIXED = ("cell", "hidden", "layers", "bidirectional")
"""Options that give a network its shape: a warm start needs them equal."""


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """A request that can be queued."""

    task: str
    dataset: str
    """Id of the data set."""
    model: str
    """Name of the model."""
    request: dict[str, Any]
    """All that was asked, with defaults filled in and references resolved."""
    warnings: Sequence[str] = ()
    """What its data set is suspected of, where that matters to it."""


def admitted(session: Session, request: AnyRequest) -> Admitted:
    """A request with all it names found. Raises `Invalid` with the place of each fault, `NotFound`, `Conflict`."""
    if isinstance(request, EvaluateRequest | PredictRequest):
        return _asking(session, request)
    config = checked(request.task, request.config)
    whole = {**request.model_dump(mode="json", exclude_none=True), "config": config}
    dataset = _dataset(session, request.dataset, request.task)
    if not any(dataset.splits.values()):
        raise Conflict(f"the data set '{request.dataset}' holds items without answers: nothing can be learnt from them")
    model = ModelRepository(session).model(request.model)
    if model is not None and model.task != request.task:
        raise Conflict(f"the model '{request.model}' is for {model.task}, not {request.task}")
    for place, vectors in _vectors(request, config):
        if vectors is not None and VectorRepository(session).get(vectors) is None:
            flaw = Flaw(detail=f"no word vectors '{vectors}'", pointer=place)
            raise Invalid(flaw.detail, errors=[flaw])
    if isinstance(request, TrainRequest) and request.warm_start is not None:
        whole["warm_start"] = _warm(session, request.warm_start, request.task, config)
    return Admitted(
        task=request.task, dataset=dataset.id, model=request.model, request=whole, warnings=dataset.warnings
    )


def _vectors(request: AnyRequest, config: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The word vectors that a request names, each with its place."""
    searched = request.search.get("vectors") if isinstance(request, TuneRequest) else None
    choices = searched if isinstance(searched, list) else []
    named = [(f"/search/vectors/{index}", choice) for index, choice in enumerate(choices)]
    return [("/config/vectors", config.get("vectors")), *named]


def _asking(session: Session, request: EvaluateRequest | PredictRequest) -> Admitted:
    """A version to be asked about a data set: which it is, is settled now."""
    version = resolved(session, Reference.parse(request.model))
    dataset = _dataset(session, request.dataset, version.task)
    if request.split is not None and not dataset.splits.get(request.split):
        detail = f"the {request.split} part of the data set '{request.dataset}' holds no row"
        raise Invalid(detail, errors=[Flaw(detail=detail, pointer="/split")])
    unsaid = {"needs"} if request.needs is None else None
    asked = request.model_dump(mode="json", exclude=unsaid) | {"model": _numbered(version)}
    warnings = dataset.warnings
    if isinstance(request, PredictRequest):
        asked["params"], warnings = params_of(version.task, request.params), []
    return Admitted(task=version.task, dataset=dataset.id, model=version.model, request=asked, warnings=warnings)


def _dataset(session: Session, name: str, task: str) -> Dataset:
    """A data set of a task."""
    dataset = DatasetRepository(session).get(name)
    if dataset is None:
        raise NotFound(f"no data set '{name}'")
    if dataset.task != task:
        raise Conflict(f"the data set '{name}' is for {dataset.task}, not {task}")
    return dataset


def _warm(session: Session, reference: str, task: str, config: Mapping[str, Any]) -> str:
    """The version that a training begins from, where its weights can fit."""
    version = resolved(session, Reference.parse(reference))
    name = _numbered(version)
    if version.task != task:
        raise Conflict(f"the version {name} is for {version.task}, not {task}")
    for option in FIXED:
        had, wanted = json.dumps(version.config.get(option)), json.dumps(config[option])
        if had != wanted:
            detail = f"the weights of {name} do not fit: there `{option}` is {had}, here {wanted}"
            raise Conflict(f"{detail}; set `config.{option}` to {had}")
    return name


def _numbered(version: VersionView) -> str:
    return f"{version.model}:{version.version}"
