"""Outputs of a card to tensors, and those to JSON and bytes. Knows schemas, no task by name.

n items, T steps at most, F numbers of a step, C names. What is shorter than T is padded: NaN, 0, false or an empty
text. A tensor's parameters then say `lengths`, and where it has names, `names`: each a JSON list in a text, as the
protocol's parameters are texts, numbers and truth values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from app.api.protocols.oip import columns
from app.api.protocols.oip.columns import OUTPUT, Column
from app.api.protocols.oip.datatypes import Tensor, packed
from app.errors import Invalid

EMPTY = {"number": np.nan, "integer": 0, "boolean": False, "text": ""}


def tensors(task: str, outputs: Sequence[Any], wanted: Sequence[str]) -> list[Tensor]:
    """The tensors that were asked for; without a wish, each field that any output has. Raises `Invalid`."""
    known = columns.outputs(task)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise Invalid(f"unknown output '{unknown[0][:80]}'; {task} answers {', '.join(known)}")
    made = []
    for name in wanted or [name for name in known if name != OUTPUT]:
        if name == OUTPUT:
            made.append(_texts(known[name], [output.model_dump_json() for output in outputs]))
            continue
        values = [getattr(output, name) for output in outputs]
        if any(value is not None for value in values):
            made.append(_tensor(known[name], values, outputs))
        elif wanted:
            raise Invalid(f"no item has the output '{name}' here")
    return made


def _tensor(column: Column, values: list[Any], outputs: Sequence[Any]) -> Tensor:
    if column.leaf in ("json", "base64"):
        dumped = [output.model_dump(mode="json", include={column.name})[column.name] for output in outputs]
        return _texts(column, [orjson.dumps(each).decode() for each in dumped])
    if column.form.named:
        return _mapped(column, values)
    if column.form.depths[-1] == 0:
        filled: list[Any] = [EMPTY[column.leaf] if value is None else value for value in values]
        return (
            _texts(column, filled)
            if column.leaf == "text"
            else _numbers(column, np.array(filled, dtype=_dtype(column)))
        )
    rows = [[] if value is None else value for value in values]
    lengths = [len(row) for row in rows]
    steps = max(lengths)
    parameters = {} if min(lengths) == steps else {"lengths": orjson.dumps(lengths).decode()}
    if column.leaf == "text":
        flat = [text for row in rows for text in (*row, *[""] * (steps - len(row)))]
        shape = (len(rows), steps)
        return Tensor(name=column.name, datatype="BYTES", shape=shape, values=flat, parameters=parameters)
    return _numbers(column, _padded(rows, steps, column), parameters)


def _padded(rows: Sequence[Sequence[Any]], steps: int, column: Column) -> np.ndarray:
    """(n, T), or (n, T, F) where a step is a list."""
    arrays = [np.array(row, dtype=_dtype(column)) for row in rows]
    width = next((array.shape[1:] for array in arrays if len(array)), ())
    whole = np.full((len(rows), steps, *width), EMPTY[column.leaf], dtype=_dtype(column))
    for place, array in zip(whole, arrays, strict=True):
        place[: len(array)] = array.reshape(len(array), *width)
    return whole


def _mapped(column: Column, values: list[Any]) -> Tensor:
    """(n, C), or (n, C, T): by the names that any output has, sorted; NaN where one has not."""
    names = sorted({name for value in values for name in value or {}})
    parameters = {"names": orjson.dumps(names).decode()}
    if column.form.depths[-1] == 0:
        rows = [[(value or {}).get(name, np.nan) for name in names] for value in values]
        return _numbers(column, np.array(rows, dtype=np.float64).reshape(len(values), len(names)), parameters)
    lists = [(value or {}).get(name, []) for value in values for name in names]
    steps = max(map(len, lists), default=0)
    return _numbers(column, _padded(lists, steps, column).reshape(len(values), len(names), steps), parameters)


def _dtype(column: Column) -> type[np.generic]:
    return {"integer": np.int64, "boolean": np.bool_}.get(column.leaf, np.float64)


def _numbers(column: Column, values: np.ndarray, parameters: dict[str, str] | None = None) -> Tensor:
    return Tensor(
        name=column.name, datatype=column.datatype, shape=values.shape, values=values, parameters=parameters or {}
    )


def _texts(column: Column, values: list[str]) -> Tensor:
    return Tensor(name=column.name, datatype="BYTES", shape=(len(values),), values=values)


def written(head: dict[str, Any], made: Sequence[Tensor], binary: Sequence[bool]) -> tuple[bytes, int | None]:
    """The body of an answer, and where its JSON ends if the bytes of tensors follow it. NaN is null in JSON."""
    described: list[dict[str, Any]] = []
    buffers: list[bytes] = []
    for tensor, raw in zip(made, binary, strict=True):
        told: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        parameters: dict[str, Any] = dict(tensor.parameters)
        if raw:
            buffers.append(packed(tensor))
            parameters["binary_data_size"] = len(buffers[-1])
        else:
            told["data"] = tensor.values.reshape(-1) if isinstance(tensor.values, np.ndarray) else tensor.values
        described.append({**told, "parameters": parameters} if parameters else told)
    text = orjson.dumps({**head, "outputs": described}, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join([text, *buffers]), len(text) if buffers else None
