"""Tensors to the items of a card, and what is wrong with them in words. Knows schemas, no task by name.

n items, T steps, F numbers of a step. An item's numbers are a view of the tensor: nothing is copied on the way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import orjson
from pydantic import TypeAdapter, ValidationError

from app.api.protocols.oip import columns
from app.api.protocols.oip.columns import ITEM, LENGTHS, Column
from app.api.protocols.oip.datatypes import Tensor, wrong
from app.errors import Flaw, Invalid, TooLarge
from models import catalog
from models.faults import Place, told, within
from models.task import Params

PLACE = re.compile(r"/(inputs|params)(?:/(\d+))?(.*)", re.DOTALL)
Lengths = Sequence[int] | None


def items(task: str, tensors: Mapping[str, Tensor], *, most: int) -> list[Any]:
    """The items that tensors hold. Raises `Invalid` in sentences that name the tensor, and `TooLarge`."""
    known = columns.inputs(task)
    for name in tensors.keys() - known.keys():
        wrong(name, f"is unknown; {task} takes {', '.join(known)}")
    counts = {name: tensor.shape[0] for name, tensor in tensors.items()}
    first, count = next(iter(counts.items()))
    for name, other in counts.items():
        if other != count:
            wrong(name, f"holds {other} items where '{first}' holds {count}")
    if count > most:
        raise TooLarge(f"{count} items in one request; at most {most}")
    if ITEM in tensors and len(tensors) > 1:
        wrong(ITEM, f"holds whole items; '{next(name for name in tensors if name != ITEM)}' has no place beside it")
    lengths = _lengths(tensors.get(LENGTHS))
    values = {name: list(_cut(known[name], tensor, lengths)) for name, tensor in tensors.items() if (name != LENGTHS)}
    if ITEM in values:
        return _parsed(task, values[ITEM], whole=True)
    filled = [{name: value[i] for name, value in values.items() if value[i] is not None} for i in range(count)]
    return _parsed(task, filled, whole=False)


def params(task: str, given: Mapping[str, Any]) -> Params:
    """The options of a request; those that are no text may be written as JSON in one. Raises `Invalid`."""
    try:
        made: Params = catalog.card(task).params.model_validate(
            {name: _unquoted(value) if name in _no_texts(task) else value for name, value in given.items()}
        )
        return made
    except ValidationError as error:
        found = told((within(each["loc"], each, given), each) for each in error.errors(include_url=False))
        raise Invalid(_sentences([_of_params(place, sentence) for place, sentence in found])) from None


def named(error: Invalid) -> Invalid:
    """What is wrong with inputs and params, in the words of this protocol."""
    return Invalid(_sentences([_flaw(flaw) for flaw in error.errors]) or error.detail)


def _lengths(tensor: Tensor | None) -> Lengths:
    if tensor is None:
        return None
    if not isinstance(tensor.values, np.ndarray) or tensor.values.dtype.kind not in "iu" or tensor.values.ndim != 1:
        wrong(LENGTHS, "takes whole numbers, one for each item")
    found: list[int] = tensor.values.tolist()
    return found


def _cut(column: Column, tensor: Tensor, lengths: Lengths) -> Iterator[Any]:
    """The value of each item; None where it says nothing."""
    depth = len(tensor.shape) - 1
    if depth not in column.form.depths:
        axes = " or ".join(str(depth + 1) for depth in column.form.depths)
        wrong(tensor.name, f"has the shape {list(tensor.shape)}; axes in all, the first of the items: {axes}")
    if (tensor.datatype == "BYTES") != (column.datatype == "BYTES"):
        wrong(tensor.name, f"is of {tensor.datatype}; {column.datatype} is expected")
    ends = _ends(tensor, lengths) if depth else []
    if isinstance(tensor.values, np.ndarray):
        for index, row in enumerate(tensor.values):
            cut = row[: ends[index]] if depth else row
            yield cut if column.array else _plain(cut)
    elif depth:
        steps = tensor.shape[1]
        for index, end in enumerate(ends):
            yield [_text(tensor, index, each) for each in tensor.values[index * steps : index * steps + end]]
    else:
        for index in range(tensor.shape[0]):
            value = tensor.values[index]
            yield None if column.optional and not value else _read(column, tensor, index, value)


def _ends(tensor: Tensor, lengths: Lengths) -> list[int]:
    steps = tensor.shape[1]
    ends = [steps] * tensor.shape[0] if lengths is None else list(lengths)
    for index, end in enumerate(ends):
        if not 1 <= end <= steps:
            wrong(LENGTHS, f"says {end} of item {index}; from 1 to the {steps} steps of '{tensor.name}' are taken")
    return ends


def _plain(values: Any) -> Any:
    """Numbers as a field takes them that knows no arrays, null where missing."""
    if values.ndim == 0:
        return None if values != values else values.item()  # noqa: PLR0124  NaN alone is not itself
    return [_plain(each) for each in values]


def _read(column: Column, tensor: Tensor, index: int, value: bytes | str) -> Any:
    if column.leaf == "base64":
        return value  # bytes are what base64 stands for
    if column.leaf != "json":
        return _text(tensor, index, value)
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        wrong(tensor.name, f"holds no JSON in item {index}: {error}")


def _text(tensor: Tensor, index: int, value: bytes | str) -> str:
    try:
        return value if isinstance(value, str) else value.decode()
    except UnicodeDecodeError:
        wrong(tensor.name, f"holds bytes that are no UTF-8 in item {index}")


@cache
def _adapter(task: str) -> TypeAdapter[list[Any]]:
    return TypeAdapter(list[catalog.card(task).item])  # type: ignore[misc, arg-type]


def _parsed(task: str, given: list[Any], *, whole: bool) -> list[Any]:
    try:
        return _adapter(task).validate_python(given)
    except ValidationError as error:
        found = told((within(each["loc"], each, given), each) for each in error.errors(include_url=False))
    raise Invalid(_sentences([_of_item(int(at[0]), at[1:], sentence, whole=whole) for at, sentence in found]))


def _of_item(index: int, place: Place, sentence: str, *, whole: bool = False) -> str:
    if whole or not place:
        at = f", at {'/'.join(map(str, place))}" if place else ""
        return f"{f'the tensor {ITEM!r}, ' if whole else ''}item {index}{at}: {sentence}"
    step = f", at {'/'.join(map(str, place[1:]))}" if place[1:] else ""
    return f"the tensor '{place[0]}', item {index}{step}: {sentence}"


def _of_params(place: Place, sentence: str) -> str:
    return f"the parameter '{'/'.join(map(str, place))[:80]}': {sentence}" if place else f"the parameters: {sentence}"


def _flaw(flaw: Flaw) -> str:
    found = PLACE.fullmatch(flaw.pointer or "")
    if found is None:
        return flaw.detail
    kind, index, rest = found.groups()
    place = tuple(rest.split("/")[1:])
    return _of_params(place, flaw.detail) if kind == "params" else _of_item(int(index or 0), place, flaw.detail)


@cache
def _no_texts(task: str) -> frozenset[str]:
    """The params of a task that are never a text."""
    known = catalog.card(task).params.model_json_schema().get("properties", {})
    kinds = {name: {each.get("type") for each in schema.get("anyOf", [schema])} for name, schema in known.items()}
    return frozenset(name for name, each in kinds.items() if "string" not in each)


def _unquoted(value: Any) -> Any:
    """A param that was written as JSON in a text."""
    try:
        return orjson.loads(value) if isinstance(value, str) else value
    except orjson.JSONDecodeError:
        return value


def _sentences(found: list[str]) -> str:
    more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
    return "; ".join(found[:5]) + more
