"""A request of the Open Inference Protocol as it comes: JSON, then the bytes of its tensors. Knows no task.

The binary tensor data extension: `Inference-Header-Content-Length` says where the JSON ends; the bytes of each tensor
with a `binary_data_size` follow, in the order of the tensors.
"""

from __future__ import annotations

import zlib
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.api.protocols.asked import shaped
from app.api.protocols.oip.datatypes import Datatype, Tensor, listed, unpacked, wrong
from app.errors import Invalid, TooLarge

HEADER = "Inference-Header-Content-Length"
Name = Annotated[str, Field(min_length=1, max_length=200)]
Length = Annotated[int, Field(ge=1, le=1_000_000_000)]
WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""Codings of a body, as zlib knows them."""
SETTINGS = ("binary_data_output", "timeout")
"""Parameters of a request that are of the protocol, not of the task."""


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class InputParameters(_Closed):
    """How a tensor is sent."""

    binary_data_size: int | None = Field(
        default=None, ge=0, description="Bytes of it after the JSON, in place of `data`."
    )
    content_type: str | None = Field(default=None, description="What other servers need to be told; not read here.")


class Input(_Closed):
    """A tensor that is sent."""

    name: Name = Field(examples=["text"])
    shape: list[Length] = Field(min_length=1, max_length=8, examples=[[1]], description="The first axis: the items.")
    datatype: Datatype
    parameters: InputParameters = InputParameters()
    data: list[Any] | None = Field(None, description="Its elements, row by row, flat or nested; null: missing.")


class OutputParameters(_Closed):
    """How a tensor is answered."""

    binary_data: bool | None = Field(default=None, description="Whether as bytes after the JSON.")
    content_type: str | None = Field(default=None, description="What other servers need to be told; not read here.")


class Wanted(_Closed):
    """A tensor that is asked for."""

    name: Name = Field(examples=["label"])
    parameters: OutputParameters = OutputParameters()


class InferRequest(_Closed):
    """What to predict on."""

    id: str | None = Field(None, max_length=200, description="Answered as it came.")
    parameters: dict[str, Any] = Field(
        default={},
        description="The task's own, as at its `/v1` route; a list may be written as JSON in a text. "
        "`binary_data_output`: whether tensors are answered as bytes. `timeout`: microseconds.",
    )
    inputs: list[Input] = Field(min_length=1, max_length=64)
    outputs: list[Wanted] = Field([], max_length=64, description="The tensors to answer; default: each field's.")

    @property
    def binary(self) -> bool:
        """Whether tensors are answered as bytes where they do not say so themselves."""
        given = self.parameters.get("binary_data_output", False)
        if not isinstance(given, bool):
            raise Invalid("the parameter 'binary_data_output' is true or false")
        return given

    @property
    def seconds(self) -> float | None:
        """Until the answer is of no use; None where nothing was said."""
        given = self.parameters.get("timeout")
        if given is None or given == 0:
            return None
        if not isinstance(given, int) or isinstance(given, bool) or not 0 < given <= 600_000_000:
            raise Invalid("the parameter 'timeout' is a whole number of microseconds, up to 600000000")
        return given / 1e6

    @property
    def params(self) -> dict[str, Any]:
        """Those of the task."""
        return {name: value for name, value in self.parameters.items() if name not in SETTINGS}


def read(body: bytes, header: str | None) -> tuple[InferRequest, dict[str, Tensor]]:
    """A request and its tensors by name, which look into the body. Raises `Invalid`, `RequestValidationError`."""
    length = _length(header, len(body))
    request = shaped(InferRequest)(body if length == len(body) else body[:length])
    rest, at = memoryview(body)[length:], 0
    found: dict[str, Tensor] = {}
    for each in request.inputs:
        if each.name in found:
            wrong(each.name, "stands there twice")
        shape, size = tuple(each.shape), each.parameters.binary_data_size
        if (size is None) == (each.data is None):
            wrong(each.name, "has either `data` or the parameter `binary_data_size`")
        if size is None:
            found[each.name] = listed(each.name, each.datatype, shape, each.data or [])
            continue
        if size > len(rest) - at:
            wrong(each.name, f"takes {size} bytes by its binary_data_size; {len(rest) - at} are left after the JSON")
        found[each.name] = unpacked(each.name, each.datatype, shape, rest[at : at + size])
        at += size
    if at < len(rest):
        raise Invalid(f"{len(rest) - at} bytes follow the last tensor; {HEADER} or a binary_data_size is too small")
    return request, found


def inflated(body: bytes, coding: str, *, most: int) -> bytes:
    """A body that was sent smaller, as clients of Triton may. Raises `Invalid`, and `TooLarge` above so many bytes."""
    name = coding.strip().lower()
    if name not in WINDOWS:
        raise Invalid(f"a body may be sent as {' or '.join(WINDOWS)}, not as '{coding[:20]}'")
    stream = zlib.decompressobj(WINDOWS[name])
    try:
        whole = stream.decompress(body, most + 1)
    except zlib.error:
        raise Invalid(f"the body is not {name}, as its Content-Encoding says") from None
    if len(whole) > most:
        raise TooLarge(f"the body may have {most} bytes at most when it is unpacked")
    if not stream.eof or stream.unused_data:
        raise Invalid(f"the body is not one whole {name} stream")
    return whole


def _length(header: str | None, whole: int) -> int:
    """Bytes of the JSON."""
    if header is None:
        return whole
    if not header.isascii() or not header.isdecimal() or not 0 < int(header[:12]) <= whole:
        raise Invalid(f"{HEADER} is '{header[:20]}'; a number from 1 to the {whole} bytes of the body is expected")
    return int(header[:12])
