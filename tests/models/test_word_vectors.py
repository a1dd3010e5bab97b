"""Word vector files: what others publish, our own form, and files that only pretend."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from models.vectors import VectorError, WordVectors, read


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=array.dtype.kind == "O")
    return buffer.getvalue()


def zipped(path: Path, *, words: bytes, vectors: bytes, **others: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("words.json", words)
        archive.writestr("vectors.npy", vectors)
        for name, body in others.items():
            archive.writestr(name, body)
    return path


def test_glove_and_word2vec_text_read_the_same(tmp_path: Path) -> None:
    body = "good 0.5 1.5\nbad -0.5 2\n"
    (tmp_path / "glove.txt").write_text(body)
    (tmp_path / "word2vec.txt").write_text("2 2\n" + body)
    for name in ("glove.txt", "word2vec.txt"):
        found = read(tmp_path / name)
        matrix, known = found.matrix(["bad", "nowhere", "good"])
        assert (len(found), found.width) == (2, 2)
        assert "good" in found
        assert matrix.dtype == np.float32
        assert matrix.tolist() == [[-0.5, 2], [0, 0], [0.5, 1.5]]
        assert known.tolist() == [True, False, True]


def test_words_with_spaces_as_glove_has_them(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("good 0.5 1.5\n. . 1 2\n")
    assert read(tmp_path / "v.txt").matrix([". ."])[0].tolist() == [[1, 2]]


def test_the_first_of_two_lines_of_a_word_counts(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("a 1 2\na 3 4\n")
    assert read(tmp_path / "v.txt").matrix(["a"])[0].tolist() == [[1, 2]]


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    table = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float16)
    WordVectors({"a": 0, "b": 2, "é": 2}, table).save(tmp_path / "v.zip")
    found = read(tmp_path / "v.zip")
    assert np.array_equal(found.matrix(["é", "a", "b"])[0], table[[2, 0, 2]].astype(np.float32))


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "no word"),
        (b"good 0.5 x\n", "line 1"),
        (b"good 0.5 1\nbad 1\n", "line 2: 1 numbers where 2"),
        (b"good 1 nan\n", "not finite"),
        (b"good 1 70000\n", "65504"),
        (b"\x00\xff\x80\n" * 3, "line 1"),
    ],
)
def test_text_that_holds_no_vectors_is_refused_with_its_line(tmp_path: Path, body: bytes, sentence: str) -> None:
    (tmp_path / "v.txt").write_bytes(body)
    with pytest.raises(VectorError, match=sentence):
        read(tmp_path / "v.txt")


WORDS = json.dumps({"a": 0}).encode()
TABLE = npy(np.ones((1, 2), dtype=np.float32))
HUGE = npy(np.ones((1, 2), dtype=np.float32)).replace(b"(1, 2), }          ", b"(9000000000000, 2)}")


@pytest.mark.parametrize(
    ("words", "vectors"),
    [
        (b"[", TABLE),
        (b"[" * 100_000, TABLE),
        (b"[1]", TABLE),
        (b"{}", TABLE),
        (b'{"a": 1}', TABLE),
        (b'{"a": -1}', TABLE),
        (b'{"a": "0"}', TABLE),
        (WORDS, b""),
        (WORDS, b"\x93NUMPY"),
        (WORDS, HUGE),
        (WORDS, npy(np.ones(3))),
        (WORDS, npy(np.ones((1, 2), dtype=np.int64))),
        (WORDS, b"\x80\x04N."),
        (WORDS, npy(np.full((1, 2), np.nan))),
        (WORDS, npy(np.full((1, 2), 1e300))),
    ],
)
def test_a_zip_that_holds_no_vectors_is_refused(tmp_path: Path, words: bytes, vectors: bytes) -> None:
    with pytest.raises(VectorError):
        read(zipped(tmp_path / "v.zip", words=words, vectors=vectors))


def test_a_pickle_in_the_array_is_never_opened(tmp_path: Path) -> None:
    with pytest.raises(VectorError):
        read(zipped(tmp_path / "v.zip", words=WORDS, vectors=npy(np.array([[{}]], dtype=object))))


def test_other_files_in_the_zip_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VectorError, match="alone"):
        read(zipped(tmp_path / "v.zip", words=WORDS, vectors=TABLE, other=b""))


def test_a_damaged_zip_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "v.zip", words=json.dumps({str(i): 0 for i in range(500)}).encode(), vectors=TABLE)
    body = bytearray(path.read_bytes())
    body[60:90] = b"\xff" * 30
    path.write_bytes(bytes(body))
    with pytest.raises(VectorError):
        read(path)
