"""Word vectors: read, kept in our own form, opened again."""

from pathlib import Path

import pytest

from app.blobs import open_blobs
from app.db.engine import Database
from app.db.tables import Job
from app.errors import Conflict, Invalid, NotFound
from app.services.vectors import VectorFiles, VectorView
from app.settings import Settings
from tests.app.jobs.test_queue import add


@pytest.fixture
def files(tmp_path: Path, database: Database) -> VectorFiles:
    settings = Settings(home=tmp_path)
    return VectorFiles(database, open_blobs(settings.blob_store), settings)


def post(files: VectorFiles, path: Path, text: str, name: str = "small") -> VectorView:
    path.write_text(text)
    return files.create(path, name=name, bytes=len(text), digest="0" * 64)


def test_vectors_that_a_job_needs_stay(files: VectorFiles, database: Database, tmp_path: Path) -> None:
    post(files, tmp_path / "sent", "good 0.5 1\n")
    shared = {"model": "m", "config": {"vectors": None}}
    add(database, "other", request=shared)
    add(database, "trains", request={**shared, "config": {"vectors": "small"}})
    add(database, "tunes", request={**shared, "search": {"lr": {"low": 0, "high": 1}, "vectors": [None, "small"]}})
    for job in ("trains", "tunes"):
        with pytest.raises(Conflict, match=f"the job {job} still needs the vectors 'small'"):
            files.delete("small")
        with database.write() as session:
            session.get_one(Job, job).state = "cancelled"
    files.delete("small")


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
