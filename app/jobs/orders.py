"""From a claimed job to an order: the files that its work needs lie on this machine. Knows services, no queue.

An order carries plain data and paths in one scratch folder, so that whoever does the work needs no database.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import structlog

from app.blobs import local
from app.errors import Invalid, NotFound
from app.jobs import study
from app.jobs.executors import Order
from app.jobs.parts import Parts
from app.jobs.queue import Claim
from app.services.registry import Reference
from models.devices import NoRoom

log = structlog.get_logger("cellgate.worker")

ASKING = {"evaluate", "predict"}
"""Kinds of jobs that ask a version about a data set, and are laid down piece by piece."""
PLACE = {"epoch", "step", "row", "offset", "answered", "failed"}
"""What a checkpoint says of where it lies."""


def ordered(parts: Parts, claim: Claim, scratch: Path) -> Order:
    """The order of a claim, its files copied into an empty folder. Raises `Invalid` where its devices do not do,
    `NotFound` where something that it names is gone."""
    request, folder, checkpoints = claim.request, scratch / "artifact", scratch / "checkpoints"
    folder.mkdir()
    checkpoints.mkdir()
    dataset = parts.datasets.get(claim.dataset)
    config = request.get("config", {})
    vectors = config.get("vectors")
    named = request["model"] if claim.kind in ASKING else request.get("warm_start")
    part = request.get("split")
    place, pieces = _pieces(parts, claim, scratch)
    return Order(
        job=claim.id,
        kind=claim.kind,
        task=claim.task,
        config=config,
        rows=parts.datasets.local_rows(claim.dataset, scratch),
        vectors=parts.vectors.local_file(vectors, scratch) if vectors else None,
        folder=folder,
        checkpoints=checkpoints,
        checkpoint=_checkpoint(parts, claim, scratch),
        version=None if named is None else _version(parts, named, scratch),
        reference=named,
        part=part,
        params=request.get("params", {}),
        total=dataset.rows if part is None else dataset.splits.get(part, 0),
        place=place,
        pieces=pieces,
        dataset={"id": dataset.id, "digest": dataset.digest},
        threads=max(1, parts.settings.threads // parts.settings.slots),
        devices=_devices(parts, claim, config.get("processes", 1)),
        memory=claim.memory,
        meeting=f"file://{scratch / 'meeting'}",
        max_seconds=request.get("max_seconds"),
        looks_every=study.looks_every(config["epochs"]) if "study" in request else 0,
    )


def _version(parts: Parts, reference: str, scratch: Path) -> Path:
    version = parts.registry.resolve(Reference.parse(reference))
    return local(parts.blobs, version.digest, scratch)


def _devices(parts: Parts, claim: Claim, processes: int) -> tuple[str, ...]:
    try:
        return parts.places.spread(claim.name, processes)
    except NoRoom as error:
        raise Invalid(f"config.processes: {error}") from None


def _pieces(parts: Parts, claim: Claim, scratch: Path) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """Where work that is laid down piece by piece goes on, and the pieces, where it must read them again."""
    found: list[str] = claim.kept.get("pieces", [])
    if not all(map(parts.blobs.exists, found)):
        log.warning("pieces gone: the job begins anew", job=claim.id)
        claim.kept.clear()
        return {}, ()
    place = {name: value for name, value in claim.kept.items() if name in PLACE}
    again = found if claim.kind == "evaluate" else []
    return place, tuple(local(parts.blobs, blob, scratch) for blob in again)


def _checkpoint(parts: Parts, claim: Claim, scratch: Path) -> Path | None:
    if claim.checkpoint is None:
        return None
    try:
        return local(parts.blobs, claim.checkpoint, scratch)
    except NotFound:
        log.warning("checkpoint gone: the job begins anew", job=claim.id)
        return None
