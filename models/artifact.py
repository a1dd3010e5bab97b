"""A trained model on disk: data, never code. Knows files and digests, no torch.

card.json            what it is: task, config, metrics, origin, the card's schemas, a digest of each file
state.json           what was counted before learning
weights.safetensors  what was learnt
net.onnx             the network, where it exports exactly (net.<function>.onnx for further functions)
int8.onnx            the same with weights in 8 bits, where that was asked for and pays
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open

from models import catalog
from models.archive import DAMAGED
from models.faults import summary
from models.task import Card, Config, Schema

FORMAT = 2
"""Grows when an older reader could not read what is written; every older format stays readable.

1 had no graphs in 8 bits; what has none is still written so."""

CARD, STATE, WEIGHTS = "card.json", "state.json", "weights.safetensors"
ALLOWED = re.compile(r"card\.json|state\.json|weights\.safetensors|(net|int8)(\.[a-z_]+)?\.onnx")
LARGEST = 4 * 1024**3
"""Bytes of all files together at most."""
SMALL = 64 * 1024**2
SWOLLEN = 16
"""An archive may unpack to `SMALL` bytes, or so many times its own size: weights hardly shrink, bombs do."""
LARGEST_CARD = 16 * 1024**2
CHUNK = 1024**2


class ArtifactError(ValueError):
    """An artifact that is damaged, foreign or hostile; a sentence that says how."""


class Manifest(BaseModel):
    """What `card.json` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int
    task: str
    config: dict[str, Any]
    metrics: dict[str, float]
    parameters: int = Field(ge=0, lt=2**63)
    code_version: str = Field(max_length=255)
    created_at: str
    dataset: dict[str, Any] | None
    job: str | None = Field(max_length=255)
    schemas: dict[str, Any]
    files: dict[str, str]
    """name -> SHA-256 of every other file."""

    @property
    def weights_digest(self) -> str:
        """The same for two runs that learnt the same."""
        return self.files[WEIGHTS]


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A folder that was verified, with its state and config as the task's own types."""

    folder: Path
    manifest: Manifest
    state: Schema
    config: Config

    @property
    def exported(self) -> bool:
        """Whether it can be served without torch."""
        return any(name.endswith(".onnx") for name in self.manifest.files)

    @property
    def quantized(self) -> bool:
        """Whether it can be served with weights in 8 bits."""
        return any(name.startswith("int8") for name in self.manifest.files)


def write(
    folder: Path,
    *,
    task: str,
    state: Schema,
    config: Config,
    metrics: Mapping[str, float],
    parameters: int,
    code_version: str,
    created_at: str,
    dataset: dict[str, Any] | None = None,
    job: str | None = None,
) -> Manifest:
    """Add `state.json` and `card.json` to a folder that holds the weights and the graphs already."""
    (folder / STATE).write_text(state.model_dump_json(), encoding="utf-8")
    names = sorted(path.name for path in folder.iterdir() if ALLOWED.fullmatch(path.name) and path.name != CARD)
    manifest = Manifest(
        format=FORMAT if any(name.startswith("int8") for name in names) else 1,
        task=task,
        config=config.model_dump(mode="json"),
        metrics=dict(metrics),
        parameters=parameters,
        code_version=code_version,
        created_at=created_at,
        dataset=dataset,
        job=job,
        schemas=schemas(catalog.card(task)),
        files={name: digest(folder / name) for name in names},
    )
    (folder / CARD).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
    return manifest


def schemas(card: Card) -> dict[str, Any]:
    """The JSON Schemas of what a task takes and answers."""
    shapes = {"item": card.item, "row": card.row, "params": card.params, "output": card.output, "config": card.config}
    return {name: TypeAdapter(shape).json_schema() for name, shape in shapes.items()}


def read(folder: Path) -> Artifact:
    """Verify a folder and read it. Raises `ArtifactError`."""
    manifest = _manifest(folder)
    for name, expected in manifest.files.items():
        if not ALLOWED.fullmatch(name):
            raise ArtifactError(f"'{name}' has no place in an artifact")
        if not (folder / name).is_file():
            raise ArtifactError(f"'{name}' is missing")
        if digest(folder / name) != expected:
            raise ArtifactError(f"'{name}' is not what card.json says it is: its digest differs")
    if not {STATE, WEIGHTS} <= manifest.files.keys():
        raise ArtifactError(f"card.json must list '{STATE}' and '{WEIGHTS}'")
    try:
        with safe_open(folder / WEIGHTS, framework="numpy"):
            pass
    except SafetensorError:
        raise ArtifactError(f"'{WEIGHTS}' is not a safetensors file") from None
    try:
        card = catalog.card(manifest.task)
        state = card.state.model_validate_json((folder / STATE).read_bytes())
        config = card.config.model_validate(manifest.config)
    except catalog.UnknownTask as error:
        raise ArtifactError(str(error)) from None
    except ValidationError as error:
        raise ArtifactError(f"state or config does not fit the task '{manifest.task}': {summary(error)}") from None
    return Artifact(folder=folder, manifest=manifest, state=state, config=config)


def _manifest(folder: Path) -> Manifest:
    try:
        text = (folder / CARD).read_bytes()
    except OSError:
        raise ArtifactError(f"'{CARD}' is missing") from None
    if len(text) > LARGEST_CARD:
        raise ArtifactError(f"'{CARD}' is larger than {LARGEST_CARD} bytes")
    try:
        found = json.loads(text)
        if b"\\u0000" in json.dumps(found, allow_nan=False, ensure_ascii=False).encode():
            raise ArtifactError(f"'{CARD}' holds a NUL character")
        if isinstance(found, dict) and isinstance(found.get("format"), int) and found["format"] > FORMAT:
            raise ArtifactError(f"format {found['format']} is newer than this service reads ({FORMAT}); update it")
        return Manifest.model_validate(found)
    except ValidationError as error:
        raise ArtifactError(f"'{CARD}' is not a card: {summary(error)}") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(f"'{CARD}' is not JSON") from None


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pack(folder: Path, target: Path) -> str:
    """Zip an artifact's folder, the same bytes for the same files; returns the zip's SHA-256."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(folder.iterdir()):
            if ALLOWED.fullmatch(path.name):
                entry = zipfile.ZipInfo(path.name, date_time=(1980, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.file_size = path.stat().st_size
                with path.open("rb") as source, archive.open(entry, "w") as sink:
                    while chunk := source.read(CHUNK):
                        sink.write(chunk)
    return digest(target)


def unpack(archive: Path, folder: Path) -> Artifact:
    """Unzip into an empty folder and verify. Raises `ArtifactError` on anything but an honest artifact."""
    try:
        with zipfile.ZipFile(archive) as opened:
            _extract(opened, folder, min(LARGEST, max(SMALL, SWOLLEN * archive.stat().st_size)))
    except ArtifactError:
        raise
    except DAMAGED:
        raise ArtifactError("the file is not a readable zip archive") from None
    return read(folder)


def _extract(archive: zipfile.ZipFile, folder: Path, most: int) -> None:
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    for name in names:
        if not ALLOWED.fullmatch(name):
            raise ArtifactError(f"{name[:100]!r} has no place in an artifact")
    if len(set(names)) != len(names):
        raise ArtifactError("a file stands in the archive twice")
    if sum(entry.file_size for entry in entries) > most:
        raise ArtifactError(f"the files are larger than {most} bytes together")
    left = most
    for entry in entries:
        with archive.open(entry) as source, (folder / entry.filename).open("wb") as sink:
            while chunk := source.read(CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise ArtifactError(f"the files are larger than {most} bytes together")
                sink.write(chunk)
