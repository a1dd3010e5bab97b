"""An artifact is data, verified; anything but an honest one is refused in a sentence."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from models import artifact, catalog
from models.artifact import ArtifactError, pack, read, unpack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An honest artifact; its weights are made up, for nothing here runs them."""
    made = tmp_path / "artifact"
    made.mkdir()
    card = catalog.card("sentiment")
    save_file({"w": np.arange(4, dtype=np.float32)}, made / artifact.WEIGHTS)
    artifact.write(
        made,
        task="sentiment",
        state=card.state(labels=["bad", "good"], counts=[1, 1], vocabulary=["film"]),
        config=card.config(hidden=4),
        metrics={"accuracy": 0.5},
        parameters=4,
        code_version="test",
        created_at="2026-01-01T00:00:00Z",
    )
    return made


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def target(tmp_path: Path) -> Path:
    made = tmp_path / "target"
    made.mkdir()
    return made


def test_what_is_written_is_read(folder: Path) -> None:
    found = read(folder)
    assert found.manifest.task == "sentiment"
    assert found.config.hidden == 4
    assert found.state.labels == ["bad", "good"]  # type: ignore[attr-defined]
    assert not found.exported
    assert set(found.manifest.schemas) == {"item", "row", "params", "output", "config"}
    assert found.manifest.weights_digest == artifact.digest(folder / artifact.WEIGHTS)


def test_the_same_files_make_the_same_zip_and_it_comes_back(folder: Path, tmp_path: Path) -> None:
    first, again = pack(folder, tmp_path / "1.zip"), pack(folder, tmp_path / "2.zip")
    assert first == again
    restored = target(tmp_path)
    assert unpack(tmp_path / "1.zip", restored).manifest == read(folder).manifest
    assert contents(restored) == contents(folder)


@pytest.mark.parametrize(
    "name", ["../card.json", "/etc/passwd", "sub/card.json", "..\\card.json", "weights.pt", "net.py", "net.ONNX"]
)
def test_a_name_that_has_no_place_is_refused(name: str, folder: Path, tmp_path: Path) -> None:
    hostile = zipped(tmp_path / "hostile.zip", {**contents(folder), name: b"x"})
    with pytest.raises(ArtifactError, match="no place in an artifact"):
        unpack(hostile, target(tmp_path))
    assert not list((tmp_path / "target").iterdir())


def test_a_file_that_stands_twice_is_refused(folder: Path, tmp_path: Path) -> None:
    path = zipped(tmp_path / "twice.zip", contents(folder))
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(artifact.STATE, b"{}")
    with pytest.raises(ArtifactError, match="twice"):
        unpack(path, target(tmp_path))


def test_a_bomb_is_refused_before_and_while_it_grows(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = zipped(tmp_path / "bomb.zip", {**contents(folder), "net.onnx": bytes(3_000_000)})
    assert bomb.stat().st_size < 20_000
    monkeypatch.setattr(artifact, "LARGEST", 1_000_000)
    with pytest.raises(ArtifactError, match="larger than 1000000 bytes"):
        unpack(bomb, target(tmp_path))


def test_a_small_archive_unpacks_to_little(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact, "SMALL", 1_000_000)
    swollen = zipped(tmp_path / "swollen.zip", {**contents(folder), "net.onnx": bytes(3_000_000)})
    made = target(tmp_path)
    with pytest.raises(ArtifactError, match="larger than 1000000 bytes"):
        unpack(swollen, made)
    assert not list(made.iterdir()), "it is refused before anything is written"


def test_a_changed_file_is_refused(folder: Path) -> None:
    with (folder / artifact.WEIGHTS).open("ab") as file:
        file.write(b"x")
    with pytest.raises(ArtifactError, match=r"'weights.safetensors' is not what card.json says"):
        read(folder)


def test_a_pickle_in_the_place_of_weights_is_never_opened(folder: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (open, (str(tmp_path / "sprung"),))

    files = {**contents(folder), artifact.WEIGHTS: pickle.dumps(Trap())}
    with pytest.raises(ArtifactError, match="digest differs"):
        unpack(zipped(tmp_path / "trap.zip", files), target(tmp_path))
    card = json.loads(files[artifact.CARD])
    (folder / artifact.WEIGHTS).write_bytes(files[artifact.WEIGHTS])
    card["files"][artifact.WEIGHTS] = artifact.digest(folder / artifact.WEIGHTS)
    files[artifact.CARD] = json.dumps(card).encode()
    again = tmp_path / "again"
    again.mkdir()
    with pytest.raises(ArtifactError, match="safetensors"):
        unpack(zipped(tmp_path / "honest.zip", files), again)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": 99}, "format 99 is newer"),
        ({"task": "nothing"}, "unknown task 'nothing'"),
        ({"config": {"hidden": -1}}, "does not fit the task"),
        ({"extra": 1}, "is not a card"),
        ({"files": {}}, "must list"),
        ({"files": {"../x": "0"}}, "no place in an artifact"),
        ({"files": {"net.onnx": "0"}}, "missing"),
    ],
)
def test_a_card_that_lies_is_refused(change: dict[str, object], sentence: str, folder: Path) -> None:
    card = json.loads((folder / artifact.CARD).read_bytes())
    (folder / artifact.CARD).write_text(json.dumps({**card, **change}))
    with pytest.raises(ArtifactError, match=sentence):
        read(folder)


@pytest.mark.parametrize("text", [b"", b"[]", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_a_card_that_is_none_is_refused(text: bytes, folder: Path) -> None:
    (folder / artifact.CARD).write_bytes(text)
    with pytest.raises(ArtifactError, match=r"card.json"):
        read(folder)


def test_a_file_that_is_no_zip_and_a_damaged_one_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "no.zip").write_bytes(b"nothing of a zip")
    with pytest.raises(ArtifactError, match="not a readable zip"):
        unpack(tmp_path / "no.zip", target(tmp_path))
    pack(folder, tmp_path / "cut.zip")
    whole = (tmp_path / "cut.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[:100] + bytes(60) + whole[160:])
    with pytest.raises(ArtifactError):
        unpack(tmp_path / "cut.zip", tmp_path / "target")
