"""Arrays come as lists or as .npy files, and nothing that is no array of numbers passes."""

from __future__ import annotations

import base64
import io
import json
from typing import Annotated, Any

import numpy as np
import pytest
from pydantic import ValidationError

from models.arrays import LISTED, Frames, Numbers, npy, read_npy
from models.task import Schema


class Clip(Schema):
    frames: Frames


class Series(Schema):
    values: Annotated[np.ndarray, Numbers(axes=(1, 2), missing=True, most_steps=5000)]


def sent(array: np.ndarray) -> dict[str, str]:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return {"npy": base64.b64encode(buffer.getvalue()).decode()}


def test_what_is_an_array_already_is_not_copied() -> None:
    array = np.ones((3, 2), dtype=np.float32)
    data = base64.b64decode(sent(array)["npy"])
    assert np.shares_memory(read_npy(data), np.frombuffer(data, dtype=np.uint8))
    assert np.shares_memory(Clip.model_validate({"frames": array}).frames, array)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16, np.uint8, bool, ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_file_gives_the_same_array(dtype: Any, order: Any) -> None:
    array = np.array(np.arange(6).reshape(3, 2) % 2, dtype=dtype, order=order)
    found = Clip.model_validate({"frames": sent(array)}).frames
    np.testing.assert_array_equal(found, array)
    assert found.dtype == (np.float32 if np.dtype(dtype).itemsize <= 4 else np.float64)


@pytest.mark.parametrize("steps", [2, LISTED])
def test_what_is_written_is_read_again(steps: int) -> None:
    clip = Clip(frames=np.random.default_rng(0).normal(size=(steps, 3)))
    text = clip.model_dump_json()
    assert ("npy" in json.loads(text)["frames"]) == (steps * 3 > LISTED)
    np.testing.assert_array_equal(Clip.model_validate_json(text).frames, clip.frames)


def test_missing_values_are_nan_and_null() -> None:
    series = Series.model_validate({"values": [1, None, 3.5]})
    assert np.isnan(series.values[1])
    assert json.loads(series.model_dump_json()) == {"values": [1.0, None, 3.5]}
    assert Series.model_validate({"values": [[1, None], [2, 3]]}).values.shape == (2, 2)
    assert np.isnan(Series.model_validate({"values": sent(np.array([np.nan, 1.0]))}).values[0])


@pytest.mark.parametrize(
    ("value", "place", "sentence"),
    [
        ([[1, 2], [3]], ("frames", 1), "1 numbers where step 0 has 2"),
        ([[1, 2], [3, "x"]], ("frames", 1, 1), "valid number"),
        ([[1, float("nan")]], ("frames", 0, 1), "finite"),
        ([[1, None]], ("frames", 0, 1), "valid number"),
        ([1, 2], ("frames", 0), "valid list"),
        ([], ("frames",), "at least 1"),
        ([[]], ("frames", 0), "at least 1"),
        (7, ("frames",), "a list of numbers"),
        ({}, ("frames",), "a list of numbers"),
        ({"npy": 7}, ("frames", "npy"), "base64"),
        ({"npy": "%%%"}, ("frames", "npy"), "base64"),
        ({"npy": "AAAA"}, ("frames", "npy"), "not a .npy file"),
        (sent(np.zeros(3)), ("frames",), "an array of 2 axes is expected, not 1"),
        (sent(np.zeros((2, 0))), ("frames",), "0 numbers in a step"),
        (sent(np.zeros((0, 2))), ("frames",), "0 steps"),
        (sent(np.array([[1.0], [np.inf]])), ("frames", 1, 0), "finite"),
        (sent(np.array([["a"]])), ("frames", "npy"), "of numbers is expected"),
        (sent(np.array([[{}]], dtype=object)), ("frames", "npy"), "of numbers is expected"),
        (sent(np.zeros((1, 1), dtype=complex)), ("frames", "npy"), "of numbers is expected"),
    ],
)
def test_what_is_no_array_is_refused_at_its_place(value: Any, place: tuple[Any, ...], sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Clip.model_validate({"frames": value})
    error = caught.value.errors()[0]
    assert error["loc"] == place
    assert sentence in error["msg"]


def test_a_header_cannot_promise_more_than_the_file_holds() -> None:
    whole = base64.b64decode(npy(np.zeros((2, 3)))["npy"])
    huge = whole.replace(b"(2, 3)", b"(2, 9)")
    for broken in (huge, whole[:-1], whole + b"x", whole[:20], b""):
        with pytest.raises(ValueError, match="npy file"):
            read_npy(broken)


def test_the_json_schema_names_both_forms() -> None:
    lists, file = Clip.model_json_schema()["properties"]["frames"]["anyOf"]
    assert lists["items"]["items"]["type"] == "number"
    assert file["required"] == ["npy"]
