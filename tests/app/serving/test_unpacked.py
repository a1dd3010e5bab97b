"""What lies unpacked on the disk: once, for as long as it is in use, and never more than so many."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from app.blobs import FolderBlobs
from app.serving import unpacked
from app.serving.unpacked import Unpacked
from tests.app import served

ASK = {"inputs": ["I loved this movie!"]}


@pytest.fixture
def kept(tmp_path: Path, archives: dict[str, Path]) -> tuple[Unpacked, list[str]]:
    """A cache, and the digests of three artifacts that it may unpack."""
    blobs = FolderBlobs(tmp_path / "blobs")
    names = ("sentiment", "sentiment2", "forecasting")
    digests = [blobs.put(Path(shutil.copy(archives[name], tmp_path))) for name in names]
    return Unpacked(tmp_path / "cache", blobs), digests


def test_the_least_recently_used_goes_first_and_nothing_in_use(
    kept: tuple[Unpacked, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacked, "MOST", 2)
    cache, digests = kept
    for age, digest in enumerate(digests):
        os.utime(cache.get(digest), (1000 + age, 1000 + age))
    cache.get(digests[0])
    cache.sweep(set())
    assert {path.name for path in cache.folder.iterdir()} == {digests[0], digests[2]}
    os.utime(cache.get(digests[1]), (1, 1))
    cache.sweep({digests[1]})
    assert digests[1] in {path.name for path in cache.folder.iterdir()}


def test_what_was_left_half_unpacked_goes_when_it_is_old(kept: tuple[Unpacked, list[str]]) -> None:
    cache, _ = kept
    cache.sweep(set())
    assert not cache.folder.exists()
    for name in ("old", "new"):
        (cache.folder / f"{unpacked.HALF}{name}" / "files").mkdir(parents=True)
    os.utime(cache.folder / f"{unpacked.HALF}old", (1, 1))
    cache.sweep(set())
    assert [path.name for path in cache.folder.iterdir()] == [f"{unpacked.HALF}new"]


def test_loading_sweeps(tmp_path: Path, archives: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacked, "MOST", 1)
    home = tmp_path / "home"
    with served.client(served.services(home)) as client:
        for name, archive in (("one", "sentiment"), ("two", "sentiment2")):
            client.post(f"/v1/models/import?name={name}", content=archives[archive].read_bytes()).raise_for_status()
            assert client.post("/v1/sentiment", json={**ASK, "model": name}).status_code == 200
        assert len(list((home / "cache").iterdir())) == 2, "both are in memory"
        for name in ("one", "two"):
            client.post(f"/v1/models/{name}/unload").raise_for_status()
        assert client.post("/v1/sentiment", json={**ASK, "model": "one"}).status_code == 200
        until = time.monotonic() + 10  # what is still being measured keeps its folder until the next load
        while len(list((home / "cache").iterdir())) > 1 and time.monotonic() < until:
            client.post("/v1/models/one/unload").raise_for_status()
            assert client.post("/v1/sentiment", json={**ASK, "model": "one"}).status_code == 200
        assert len(list((home / "cache").iterdir())) == 1
