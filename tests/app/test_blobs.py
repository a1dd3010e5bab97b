"""Blobs: kept by digest, whole or not at all, in a folder and at an fsspec address."""

import hashlib
import tracemalloc
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import app.blobs
from app.blobs import Blobs, FolderBlobs, RemoteBlobs, local, open_blobs
from app.errors import Away, Invalid, NotFound
from tests.s3 import Store, serving


@pytest.fixture(params=["folder", "memory", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    if request.param == "s3":
        store: Store = request.getfixturevalue("s3")
        return open_blobs(store.bucket())
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


def test_what_is_kept_is_listed_with_its_age_and_a_copy_can_be_had_here(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"hello" * 1000)
    digest = blobs.put(tmp_path / "one")
    ((named, age),) = blobs.listed()
    assert named == digest
    assert -60 < age < 60
    assert local(blobs, digest, tmp_path).read_bytes() == b"hello" * 1000
    with pytest.raises(NotFound):
        local(blobs, "0" * 64, tmp_path)


def test_several_threads_put_and_open_at_once(blobs: Blobs, tmp_path: Path) -> None:
    def work(number: int) -> bool:
        path = tmp_path / str(number)
        path.write_bytes(b"%d" % (number % 4) * 100_000)
        with blobs.open(blobs.put(path)) as file:
            return file.read() == b"%d" % (number % 4) * 100_000

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))
    assert len(list(blobs.listed())) == 4


def test_other_bytes_than_were_put_are_refused(s3: Store, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"hello")
    address = s3.bucket()
    blobs = open_blobs(address)
    digest = blobs.put(tmp_path / "one")
    s3.overwrite(f"{address}/{digest[:2]}/{digest}", b"hell!")
    with pytest.raises(Away, match=f"other bytes for {digest} than were put"):
        local(blobs, digest, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_large_file_passes_in_blocks(s3: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block, size = 5 * 2**20, 64 * 2**20  # S3 takes no smaller parts
    monkeypatch.setattr(app.blobs, "BLOCK", block)
    blobs = open_blobs(s3.bucket())
    (tmp_path / "small").write_bytes(b"hello")
    local(blobs, blobs.put(tmp_path / "small"), tmp_path)  # what the libraries keep is not counted
    with (tmp_path / "large").open("wb") as file:
        file.truncate(size)
    tracemalloc.start()
    try:
        found = local(blobs, blobs.put(tmp_path / "large"), tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 9 * block < size
    finally:
        tracemalloc.stop()
    assert found.stat().st_size == size


def test_a_bucket_that_is_not_there_is_told_in_a_sentence(s3: Store, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"hello")
    blobs = open_blobs(f"s3://b{uuid.uuid4().hex}/cellgate")
    with pytest.raises(Away, match="the blob store cannot be used now"):
        blobs.put(tmp_path / "one")
    assert list(blobs.listed()) == []


def test_a_store_that_is_gone_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"hello")
    monkeypatch.setitem(app.blobs.AWS, "retries", {"max_attempts": 0})
    with serving() as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        blobs = open_blobs(store.bucket())
        digest = blobs.put(tmp_path / "one")
        file = blobs.open(digest)
    (tmp_path / "two").write_bytes(b"hello")
    monkeypatch.setattr(RemoteBlobs, "open", lambda *_: file)
    asks: list[Callable[[], object]] = [
        lambda: local(blobs, digest, tmp_path),  # as a worker reads
        lambda: blobs.exists(digest),
        lambda: blobs.put(tmp_path / "two"),
        lambda: list(blobs.listed()),
    ]
    for ask in asks:
        with pytest.raises(Away, match="the blob store cannot be used now"):
            ask()
    assert file.closed
    assert (tmp_path / "two").exists(), "what was not taken over is still here"


def test_an_address_that_means_nothing_is_told_in_a_sentence() -> None:
    with pytest.raises(Invalid, match="CELLGATE_BLOBS: Protocol not known: nowhere"):
        open_blobs("nowhere://bucket")
