"""Tensors of the Open Inference Protocol: their datatypes, as JSON and as bytes. Knows NumPy, no task.

Bytes are little-endian, row-major and without gaps; a text among them follows its length in four bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from typing import Annotated, Any, Literal, NoReturn

import numpy as np
from pydantic import Field, StrictBool, StrictStr, TypeAdapter, ValidationError

from app.errors import Invalid
from models.faults import summary

Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"
]
DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
}
LENGTH = struct.Struct("<I")
Values = np.ndarray | Sequence[bytes] | Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A tensor with its numbers as an array of its shape, or its BYTES one after the other: text from JSON, else
    bytes as they came."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Values
    parameters: dict[str, str] = field(default_factory=dict)


def wrong(name: str, sentence: str) -> NoReturn:
    """Raises `Invalid`, naming the tensor."""
    raise Invalid(f"the tensor '{name[:80]}' {sentence}")


def unpacked(name: str, datatype: str, shape: tuple[int, ...], data: memoryview) -> Tensor:
    """A tensor where its bytes lie: numbers are not copied. Raises `Invalid`."""
    count = math.prod(shape)
    if datatype == "BYTES":
        return Tensor(name=name, datatype=datatype, shape=shape, values=_texts(name, count, data))
    dtype = DTYPES[datatype]
    if len(data) != count * dtype.itemsize:
        wrong(name, f"has {len(data)} bytes; {list(shape)} of {datatype} takes {count * dtype.itemsize}")
    if datatype == "BOOL" and np.frombuffer(data, dtype=np.uint8).max() > 1:
        wrong(name, "holds a byte that is neither 0 nor 1, of BOOL")
    return Tensor(name=name, datatype=datatype, shape=shape, values=np.frombuffer(data, dtype=dtype).reshape(shape))


def _texts(name: str, count: int, data: memoryview) -> list[bytes]:
    found: list[bytes] = []
    at = 0
    while at < len(data) and len(found) < count:
        if len(data) - at < LENGTH.size:
            wrong(name, f"ends within the length of element {len(found)}")
        (size,) = LENGTH.unpack_from(data, at)
        at += LENGTH.size
        if size > len(data) - at:
            wrong(name, f"has {len(data) - at} bytes left where element {len(found)} takes {size}")
        found.append(bytes(data[at : at + size]))
        at += size
    if len(found) < count or at < len(data):
        wrong(name, f"has {len(data)} bytes, which are not {count} elements, each after its length")
    return found


def listed(name: str, datatype: str, shape: tuple[int, ...], data: list[Any]) -> Tensor:
    """A tensor from JSON, flat or nested; null is a missing FP. Raises `Invalid`."""
    flat = _flat(name, shape, data)
    if len(flat) != math.prod(shape):
        wrong(name, f"has {len(flat)} elements; its shape {list(shape)} takes {math.prod(shape)}")
    try:
        values = _elements(datatype).validate_python(flat)
    except ValidationError as error:
        wrong(name, f"of {datatype} holds something else: {summary(error)}")
    if datatype == "BYTES":
        return Tensor(name=name, datatype=datatype, shape=shape, values=values)
    with np.errstate(over="ignore"):  # what does not fit is infinite, and refused as that
        return Tensor(
            name=name, datatype=datatype, shape=shape, values=np.array(values, dtype=DTYPES[datatype]).reshape(shape)
        )


def _flat(name: str, shape: tuple[int, ...], data: list[Any]) -> list[Any]:
    """Nested lists as one, where they are as long as the shape says."""
    for axis in shape[1:]:
        if not (data and isinstance(data[0], list)):
            break
        if any(not isinstance(part, list) or len(part) != axis for part in data):
            wrong(name, f"is nested otherwise than its shape {list(shape)}")
        data = list(chain.from_iterable(data))
    return data


@cache
def _elements(datatype: str) -> TypeAdapter[list[Any]]:
    if datatype == "BYTES":
        return TypeAdapter(list[StrictStr])
    if datatype == "BOOL":
        return TypeAdapter(list[StrictBool])
    if datatype.startswith("FP"):
        return TypeAdapter(list[Annotated[float, Field(strict=True)] | None])
    limits = np.iinfo(DTYPES[datatype])
    return TypeAdapter(list[Annotated[int, Field(strict=True, ge=int(limits.min), le=int(limits.max))]])


def packed(tensor: Tensor) -> bytes:
    """A tensor as bytes."""
    if isinstance(tensor.values, np.ndarray):
        return tensor.values.astype(DTYPES[tensor.datatype], copy=False).tobytes()
    texts = [text.encode() if isinstance(text, str) else text for text in tensor.values]
    return b"".join(chain.from_iterable((LENGTH.pack(len(text)), text) for text in texts))
