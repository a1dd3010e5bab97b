"""The registry: what is promoted and why, one version per job, and cards that lie."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.errors import Conflict, Invalid
from app.services.registry import Registry
from models import artifact
from tests.app import served


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return served.services(tmp_path / "home").registry


@pytest.fixture
def variant(archives: dict[str, Path], tmp_path: Path) -> Callable[..., Path]:
    """A copy of an honest artifact whose card was written over."""
    count = iter(range(100))

    def made(raw: tuple[bytes, bytes] | None = None, **changed: Any) -> Path:
        folder = tmp_path / f"variant{next(count)}"
        with zipfile.ZipFile(archives["sentiment"]) as archive:
            archive.extractall(folder)
        card = {**json.loads((folder / "card.json").read_bytes()), **changed}
        text = json.dumps(card).encode()
        (folder / "card.json").write_bytes(text if raw is None else text.replace(*raw))
        artifact.pack(folder, folder.with_suffix(".zip"))
        return folder.with_suffix(".zip")

    return made


def live(registry: Registry) -> int:
    return registry.model("m").aliases["production"]


def test_a_better_version_of_the_same_data_is_promoted(registry: Registry, variant: Callable[..., Path]) -> None:
    def came(accuracy: float, promote: str = "if_better", data: str = "a") -> int:
        path = variant(metrics={"accuracy": accuracy, "loss": 1.0}, dataset={"id": "ds", "digest": data}, job=None)
        registry.import_(path, model="m", promote=promote, by="test")
        return live(registry)

    assert came(0.7, "never") == 1, "the first version always"
    assert came(0.6) == 1
    assert came(0.8) == 3
    assert came(0.8) == 3, "as good is not better"
    assert came(0.9, "never") == 3
    assert came(0.95, data="b") == 3, "scores on other data do not compare"
    assert came(0.1, "always", data="b") == 7
    moves = registry.history("m")
    assert [move.version for move in moves] == [7, 3, 1]
    assert {move.by for move in moves} == {"test"}
    assert "0.8" in moves[1].reason
    assert registry.model("m").default


def test_a_job_registers_once(registry: Registry, variant: Callable[..., Path]) -> None:
    stored = registry.store(variant(job="job_1"))
    first = registry.register(stored, model="m", promote="if_better", by="job job_1")
    assert registry.register(stored, model="m", promote="if_better", by="job job_1") == first
    assert registry.model("m").latest_version == 1


def test_a_refused_import_leaves_nothing_behind(registry: Registry, archives: dict[str, Path], tmp_path: Path) -> None:
    def copy(task: str) -> Path:
        path = tmp_path / "copy.zip"
        path.write_bytes(archives[task].read_bytes())
        return path

    registry.import_(copy("sentiment"), model="m", promote="never", by="test")
    with pytest.raises(Conflict):
        registry.import_(copy("forecasting"), model="m", promote="never", by="test")
    with pytest.raises(Invalid):
        registry.import_(copy("forecasting"), model="No Name", promote="never", by="test")
    assert not registry.blobs.exists(artifact.digest(archives["forecasting"]))
    assert registry.blobs.exists(artifact.digest(archives["sentiment"]))


@pytest.mark.parametrize(
    "lie",
    [
        {"parameters": 10**30},
        {"parameters": -1},
        {"metrics": {"accuracy": float("nan")}},
        {"dataset": {"id": "x", "digest": float("inf")}},
        {"dataset": {"id": "\0"}},
        {"dataset": {"id": "\ud800"}},
        {"code_version": "\0"},
        {"code_version": "x" * 10_000},
        {"job": "x" * 10_000},
        {"task": "nonsense"},
        {"format": 99},
        {"files": {}},
        {"config": {"hidden": -1}},
        {"surprise": 1},
        {"raw": (b'"format": 1', b'"format": ' + b"[" * 100_000)},
        {"raw": (b'"format": 1', b'"format": 1' + b"0" * 10_000)},
    ],
    ids=lambda lie: f"{next(iter(lie))}-{str(next(iter(lie.values())))[:12]!a}",
)
def test_a_card_that_lies_is_refused_in_a_sentence(
    registry: Registry, variant: Callable[..., Path], lie: dict[str, Any]
) -> None:
    with pytest.raises(Invalid, match="refused"):
        registry.import_(variant(**lie), model="m", promote="never", by="test")
