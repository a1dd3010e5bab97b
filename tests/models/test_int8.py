"""Weights in 8 bits are kept only where they are faster and as good; what was found is on the version."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import artifact, catalog, predictor
from models.artifact import Artifact
from models.batch import Example
from models.runtimes import int8
from models.runtimes.onnx_run import INT8, NET, OnnxRun
from tests.app import served
from tests.samples import sample


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version whose recurrent layers are wide enough for 8 bits to pay, unpacked."""
    folder = tmp_path_factory.mktemp("wide")
    archive = served.trained("sentiment", folder, hidden=128, embedding=64, epochs=8, quantize=True)
    (folder / "files").mkdir()
    artifact.unpack(archive, folder / "files")
    return folder / "files"


@pytest.fixture
def found(wide: Path, tmp_path: Path) -> Artifact:
    """A copy of it."""
    return artifact.read(Path(shutil.copytree(wide, tmp_path / "files")))


def examples(found: Artifact) -> list[Example]:
    codec = catalog.codec("sentiment")
    rows = sample(codec.card)["validation"]
    return [each for row in rows for each in codec.examples(row, found.state, found.config, "validation")]


def settled(found: Artifact) -> int8.Verdict:
    for path in found.folder.glob("int8*.onnx"):
        path.unlink()
    return int8.settle(catalog.codec("sentiment"), found.folder, examples(found), found.state)


def test_what_was_found_is_on_the_version(found: Artifact) -> None:
    metrics = found.manifest.metrics
    assert {"int8_kept", "int8_speed", "int8_accuracy"} <= metrics.keys()
    kept = metrics["int8_kept"] == 1.0
    assert kept is found.quantized
    assert found.manifest.format == (2 if kept else 1)
    assert kept is (abs(metrics["int8_accuracy"] - metrics["accuracy"]) < 0.002 and metrics["int8_speed"] >= 1.05)


def test_what_is_faster_and_as_good_is_kept_and_served(found: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "FASTER", 0.0)
    monkeypatch.setattr(int8, "MOVE", 1.0)
    assert settled(found).kept
    again = _written(found)
    assert again.quantized
    assert again.manifest.format == 2
    small, plain = predictor.load(again), predictor.load(again, precision="fp32")
    assert (small.weights, plain.weights) == ("int8", "fp32")
    asked = examples(again)[:8]
    params = small.codec.card.params()
    differences = [
        abs(one.score - other.score)
        for one, other in zip(small.answer(asked, params), plain.answer(asked, params), strict=True)
    ]
    assert 0 < max(differences) < 0.1, "other arithmetic, nearly the same answers"


@pytest.mark.parametrize(("name", "value"), [("FASTER", 1e9), ("MOVE", -1.0)])
def test_what_is_no_faster_or_moves_the_metric_is_not_kept(
    found: Artifact, monkeypatch: pytest.MonkeyPatch, name: str, value: float
) -> None:
    monkeypatch.setattr(int8, name, value)
    verdict = settled(found)
    assert not verdict.kept
    assert verdict.metrics["int8_kept"] == 0.0
    assert "accuracy" in verdict.reason
    assert not list(found.folder.glob("int8*"))
    assert not _written(found).quantized


def test_the_metric_that_moves_is_that_of_the_rounded_weights(found: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(OnnxRun):
        """Says the opposite with weights in 8 bits."""

        def __init__(self, folder: Path, stem: str) -> None:
            super().__init__(folder, stem)
            self.sign = -1 if stem == INT8 else 1

        def __call__(self, function: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {name: self.sign * array for name, array in super().__call__(function, inputs).items()}

    monkeypatch.setattr(int8, "OnnxRun", Wrong)
    monkeypatch.setattr(int8, "FASTER", 0.0)
    verdict = settled(found)
    assert not verdict.kept
    assert verdict.metrics["int8_accuracy"] < 0.5


def test_a_graph_that_cannot_be_rounded_is_served_as_it_is(found: Artifact) -> None:
    (found.folder / f"{NET}.onnx").write_bytes(b"no graph")
    verdict = settled(found)
    assert not verdict.kept
    assert "cannot be made" in verdict.reason
    assert not list(found.folder.glob("int8*"))


def _written(found: Artifact) -> Artifact:
    """The folder as an artifact again."""
    manifest: dict[str, Any] = found.manifest.model_dump(
        include={"metrics", "parameters", "code_version", "created_at", "dataset", "job"}
    )
    artifact.write(found.folder, task="sentiment", state=found.state, config=found.config, **manifest)
    return artifact.read(found.folder)
