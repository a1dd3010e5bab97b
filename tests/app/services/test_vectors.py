"""Word vectors: read, kept in our own form, opened again."""

from pathlib import Path

import pytest

from app.blobs import open_blobs
from app.db.engine import Database
from app.errors import Conflict, Invalid, NotFound
from app.services.vectors import VectorFiles, VectorView
from app.settings import Settings


@pytest.fixture
def files(tmp_path: Path, database: Database) -> VectorFiles:
    settings = Settings(home=tmp_path)
    return VectorFiles(database, open_blobs(settings.blob_store), settings)


def post(files: VectorFiles, path: Path, text: str, name: str = "small") -> VectorView:
    path.write_text(text)
    return files.create(path, name=name, bytes=len(text), digest="0" * 64)


def test_vectors_are_kept_listed_opened_and_deleted(files: VectorFiles, tmp_path: Path) -> None:
    view = post(files, tmp_path / "sent", "good 0.5 1\nbad -0.5 2\n")
    assert (view.words, view.width) == (2, 2)
    assert files.list().items == [view] == [files.get("small")]
    matrix, known = files.open("small").matrix(["bad", "unknown"])
    assert matrix.tolist() == [[-0.5, 2.0], [0.0, 0.0]]
    assert known.tolist() == [True, False]
    with pytest.raises(Conflict):
        post(files, tmp_path / "sent", "good 1 2\n")
    files.delete("small")
    assert not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
    for name in ("small", "a\0b"):
        with pytest.raises(NotFound):
            files.get(name)


@pytest.mark.parametrize("text", ["", "good\nbad 1\n", "good 1 x\n", "good inf\n", "good 1 2\nbad 1\n"])
def test_a_file_of_something_else_is_refused(files: VectorFiles, tmp_path: Path, text: str) -> None:
    with pytest.raises(Invalid):
        post(files, tmp_path / "sent", text)
