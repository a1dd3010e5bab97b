"""Blobs: kept by digest, whole or not at all, in a folder and at an fsspec address."""

import hashlib
import uuid
from pathlib import Path

import pytest

from app.blobs import Blobs, FolderBlobs, RemoteBlobs, open_blobs
from app.errors import NotFound


@pytest.fixture(params=["folder", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return open_blobs(f"file://{tmp_path}/kept" if request.param == "folder" else f"memory://{uuid.uuid4().hex}")


def test_a_file_is_taken_over_and_found_by_its_digest(blobs: Blobs, tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(b"hello")
        digests.append(blobs.put(tmp_path / name))
        assert not (tmp_path / name).exists()
    assert digests == [hashlib.sha256(b"hello").hexdigest()] * 2
    with blobs.open(digests[0]) as file:
        assert file.read() == b"hello"
    assert blobs.exists(digests[0])
    blobs.delete(digests[0])
    blobs.delete(digests[0])
    assert not blobs.exists(digests[0])
    assert blobs.path(digests[0]) is None
    with pytest.raises(NotFound):
        blobs.open(digests[0])


def test_a_name_that_is_no_digest_is_not_found(blobs: Blobs) -> None:
    for name in ("../../secret", "", "A" * 64):
        with pytest.raises(NotFound):
            blobs.open(name)


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path / "kept")
    with pytest.raises(FileNotFoundError):
        blobs.put(tmp_path / "missing")
    assert not list((tmp_path / "kept").rglob("*"))


def test_an_address_chooses_the_store(tmp_path: Path) -> None:
    assert isinstance(open_blobs(str(tmp_path / "a folder")), FolderBlobs)
    assert isinstance(open_blobs("memory://x"), RemoteBlobs)
