"""Zips as records: what a table names is attached, litter is passed over, hostile zips are refused in a sentence."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from models import archive
from models.archive import Archive
from models.readers import Bad


def zipped(folder: Path, files: Mapping[str, bytes]) -> Path:
    path = folder / "data.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return path


def upper(data: bytes) -> str:
    if data == b"bad":
        raise ValueError("a bad file")
    return data.decode().upper()


def test_files_that_a_table_names_are_attached(tmp_path: Path) -> None:
    files = {
        "set/manifest.csv": b"audio,label\na.wav,one\nclips/b.wav,two\nset/clips/b.wav,two\ngone.wav,x\n",
        "set/a.wav": b"aa",
        "set/clips/b.wav": b"bad",
        "__MACOSX/manifest.csv": b"litter",
        "set/._a.wav": b"litter",
    }
    found = list(Archive(zipped(tmp_path, files)).rows({"audio": upper}))
    assert found == [
        (2, {"audio": "AA", "label": "one"}),
        Bad(3, "a bad file"),
        Bad(4, "a bad file"),
        Bad(5, "the zip holds no file 'gone.wav'"),
    ]


def test_a_name_that_several_files_have_is_not_guessed(tmp_path: Path) -> None:
    opened = Archive(zipped(tmp_path, {"a/x.mid": b"1", "b/x.mid": b"2"}))
    assert opened.read("b/x.mid") == b"2"
    with pytest.raises(ValueError, match="several end so"):
        opened.read("x.mid")
    assert [(number, name) for number, name, _ in opened.files([".mid"])] == [(1, "a/x.mid"), (2, "b/x.mid")]


@pytest.mark.parametrize(
    ("files", "sentence"),
    [({"a.wav": b""}, "it holds none"), ({"a.csv": b"", "b.jsonl": b""}, "it holds 2: a.csv, b.jsonl")],
)
def test_a_zip_without_one_table_says_so(tmp_path: Path, files: dict[str, bytes], sentence: str) -> None:
    (bad,) = Archive(zipped(tmp_path, files)).rows({})
    assert isinstance(bad, Bad)
    assert sentence in bad.detail


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_file_whose_bytes_are_damaged_is_refused(tmp_path: Path, method: int) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("a", bytes(range(256)) * 4)
    path.write_bytes(path.read_bytes()[:31] + b"\xff" * 12 + path.read_bytes()[43:])
    with pytest.raises(ValueError, match="the file 'a' of the zip is damaged"):
        Archive(path).read("a")


@pytest.mark.parametrize(("place", "value"), [(6, 1), (8, 99)], ids=["encrypted", "an unknown compression"])
def test_a_file_that_zipfile_cannot_read_is_refused(tmp_path: Path, place: int, value: int) -> None:
    path = zipped(tmp_path, {"a": b"1"})
    data = bytearray(path.read_bytes())
    directory = data.index(b"PK\x01\x02") + 2  # whose fields stand two bytes later
    data[place] = data[directory + place] = value
    path.write_bytes(data)
    with pytest.raises(ValueError, match="the file 'a' of the zip is damaged"):
        Archive(path).read("a")


def test_bombs_and_broken_zips_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path, {"zeros.npy": bytes(5_000_000)})
    monkeypatch.setattr(archive, "LARGEST_FILE", 1_000_000)
    with pytest.raises(ValueError, match=r"'zeros.npy' is larger than 1000000 bytes"):
        Archive(path).read("zeros.npy")
    monkeypatch.setattr(archive, "LARGEST", 4_000_000)
    with pytest.raises(ValueError, match="larger than 4000000 bytes together"):
        Archive(path)
    lying = path.read_bytes().replace(struct.pack("<I", 5_000_000), struct.pack("<I", 10))
    path.write_bytes(lying)
    with pytest.raises(ValueError, match="is damaged"):
        Archive(path).read("zeros.npy")
    path.write_bytes(lying[:200])
    with pytest.raises(ValueError, match="not a readable zip"):
        Archive(path)
