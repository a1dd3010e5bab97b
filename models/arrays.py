"""Numbers by the thousand on the wire: nested lists or a .npy file, as one NumPy array. Knows shapes, no meaning.

T steps, F numbers of a step.
"""

from __future__ import annotations

import binascii
import io
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import pybase64
from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

LISTED = 4096
"""Numbers that are written as lists; more of them are written as a .npy file."""

MOST = 1e15
"""The largest number."""
Number = Annotated[float, Field(ge=-MOST, le=MOST, allow_inf_nan=False)]


@dataclass(frozen=True)
class Numbers:
    """Marks a field as an array: ``values: Annotated[np.ndarray, Numbers(axes=(1, 2))]``.

    Taken: a list of numbers (T,), a list of lists of one length (T, F), or ``{"npy": "<base64>"}``. Given: an
    array of floats, one of 32 bits from a file of at most 32, else of 64: an array that is one already is taken as it
    lies, and a file is read where it was decoded. Where `missing` is allowed, null and NaN
    become NaN; infinity never passes.
    """

    axes: tuple[int, ...] = (2,)
    """How many axes are allowed."""
    missing: bool = False
    most_steps: int = 1_000_000
    most_width: int = 65_536

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.parse, serialization=core_schema.plain_serializer_function_ser_schema(written)
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        lists = [TypeAdapter(self._shape(axes)).json_schema() for axes in self.axes]
        npy = {
            "type": "object",
            "properties": {"npy": {"type": "string", "contentEncoding": "base64", "description": "A .npy file."}},
            "required": ["npy"],
            "additionalProperties": False,
        }
        return {"anyOf": [*lists, npy]}

    def parse(self, value: Any) -> np.ndarray:
        """Lists, `{"npy": ...}` or an array, checked. Raises pydantic's `ValidationError` with the place."""
        if isinstance(value, list):
            return self._listed(value)
        if isinstance(value, np.ndarray):
            return self._checked(value)
        if isinstance(value, dict) and set(value) == {"npy"}:
            return self._checked(decoded(value["npy"]))
        raise _fault("numbers", 'a list of numbers is expected, or {"npy": "<base64 of a .npy file>"}')

    def _listed(self, value: list[Any]) -> np.ndarray:
        axes = 2 if value and isinstance(value[0], list) else 1
        axes = axes if axes in self.axes else self.axes[-1]
        numbers = self._lists[axes].validate_python(value)
        if axes == 2:
            for step, row in enumerate(numbers):
                if len(row) != len(numbers[0]):
                    raise _fault("ragged", f"{len(row)} numbers where step 0 has {len(numbers[0])}", step)
        return np.array(numbers, dtype=np.float64)  # None becomes NaN

    def _checked(self, array: np.ndarray) -> np.ndarray:
        if array.dtype.kind not in "fiub":
            raise _fault("numbers", f"an array of numbers is expected, not of {array.dtype}")
        if array.ndim not in self.axes:
            wanted = " or ".join(str(axes) for axes in self.axes)
            raise _fault("axes", f"an array of {wanted} axes is expected, not {array.ndim}")
        if not 1 <= len(array) <= self.most_steps:
            raise _fault("steps", f"{len(array)} steps; from 1 to {self.most_steps} are taken")
        if array.ndim == 2 and not 1 <= array.shape[1] <= self.most_width:
            raise _fault("width", f"{array.shape[1]} numbers in a step; from 1 to {self.most_width} are taken")
        floats = array.astype(np.float32 if array.dtype.itemsize <= 4 else np.float64, copy=False)
        least, most = (np.fmin, np.fmax) if self.missing else (np.minimum, np.maximum)
        low, high = least.reduce(floats, axis=None), most.reduce(floats, axis=None)
        if not (low >= -MOST and high <= MOST) and not (self.missing and np.isnan(low)):
            bad = np.isinf(floats) | (np.abs(floats) > MOST) if self.missing else ~(np.abs(floats) <= MOST)
            place = tuple(int(index) for index in np.argwhere(bad)[0])
            raise _fault("finite", "a finite number up to 1e15 is expected", *place)
        return floats

    def _shape(self, axes: int) -> Any:
        number: Any = Number | None if self.missing else Number
        step: Any = Annotated[list[number], Field(min_length=1, max_length=self.most_width)] if axes == 2 else number
        return Annotated[list[step], Field(min_length=1, max_length=self.most_steps, fail_fast=True)]

    @cached_property
    def _lists(self) -> dict[int, TypeAdapter[Any]]:
        return {axes: TypeAdapter(self._shape(axes)) for axes in self.axes}


Frames = Annotated[np.ndarray, Numbers(axes=(2,))]
"""(T, F): a feature vector per step."""


def decoded(text: Any) -> np.ndarray:
    """The array of a base64 .npy file: never of objects, and never larger than its own bytes."""
    try:
        if not isinstance(text, str):
            raise TypeError("not text")
        return read_npy(pybase64.b64decode(text, validate=True))
    except (TypeError, binascii.Error):
        raise _fault("npy", "`npy` must be the base64 of a .npy file", "npy") from None
    except ValueError as error:
        raise _fault("npy", str(error), "npy") from None


def read_npy(data: bytes) -> np.ndarray:
    """The array of a .npy file's bytes. Raises `ValueError` in a sentence on anything else."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except (ValueError, TypeError, SyntaxError, EOFError, OverflowError, MemoryError, RecursionError):
        raise ValueError("the bytes are not a .npy file") from None
    if dtype.hasobject or dtype.kind not in "fiub":
        raise ValueError(f"a .npy file of numbers is expected, not of {dtype}")
    body = memoryview(data)[file.tell() :]
    if math.prod(shape) * dtype.itemsize != len(body):
        raise ValueError(f"the .npy file holds {len(body)} bytes where its header promises {shape} of {dtype}")
    array = np.frombuffer(body, dtype=dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)


def written(array: np.ndarray) -> Any:
    """An array as JSON: lists with null where missing; a large one as `{"npy": ...}`."""
    if array.size > LISTED:
        return npy(array)
    if not np.isnan(array).any():
        return array.tolist()
    objects = array.astype(object)
    objects[np.isnan(array)] = None
    return objects.tolist()


def npy(array: np.ndarray) -> dict[str, str]:
    """An array as `{"npy": "<base64 of a .npy file>"}`."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return {"npy": pybase64.b64encode(buffer.getvalue()).decode()}


def _fault(kind: str, sentence: str, *place: str | int) -> ValidationError:
    # Pydantic fills braces of a template: the sentence goes in as a value.
    error = PydanticCustomError(kind, "{sentence}", {"sentence": sentence})
    details = InitErrorDetails(type=error, loc=place, input=None)
    return ValidationError.from_exception_data("array", [details])
