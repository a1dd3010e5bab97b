"""Which tensors a task takes and gives, read from the JSON Schemas of its card. Knows schemas, no task by name.

n items, T steps, F numbers of a step, C names. Each field is a tensor whose first axis is the items: numbers (n, T) or
(n, T, F), texts (n,) or (n, T), a mapping (n, C) or (n, C, T). What has no such shape is BYTES (n,) of JSON, and an
item, or an output, as a whole is so too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pydantic import TypeAdapter

from models import catalog

Leaf = Literal["number", "integer", "boolean", "text", "base64", "json"]
DATATYPES: dict[Leaf, str] = {"number": "FP64", "integer": "INT64", "boolean": "BOOL"}
"""Of what is answered, and named in the metadata; all others are BYTES."""
DEEPEST: dict[Leaf, int] = {"number": 2, "integer": 1, "boolean": 1, "text": 1}
"""How many axes after the first a tensor may have: only numbers can be missing within two."""
ITEM, OUTPUT, LENGTHS = "item", "output", "lengths"
SIMPLE: dict[str, Leaf] = {"number": "number", "integer": "integer", "boolean": "boolean", "string": "text"}


@dataclass(frozen=True, slots=True)
class Form:
    """What a value is made of: a leaf under some axes, the first of which may be the names of a mapping."""

    leaf: Leaf
    depths: tuple[int, ...] = (0,)
    """How many axes there may be without the first and without names."""
    named: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One field as a tensor."""

    name: str
    form: Form
    optional: bool = False
    """Whether the field may be left out, or null."""
    array: bool = False
    """Whether the field takes an array as it is."""

    @property
    def leaf(self) -> Leaf:
        """What its elements are."""
        return self.form.leaf

    @property
    def datatype(self) -> str:
        """As it is answered."""
        return DATATYPES.get(self.leaf, "BYTES")

    @property
    def shape(self) -> list[int]:
        """As the metadata tell it: -1 for any."""
        return [-1] * (1 + self.form.named + self.form.depths[-1])


Columns = Mapping[str, Column]


@cache
def inputs(task: str) -> Columns:
    """The tensors that a task takes: the fields of its item, or whole items; and the steps of each, where they vary."""
    found = _columns(TypeAdapter(catalog.card(task).item).json_schema())
    long = any(column.form.depths[-1] for column in found.values())
    lengths = [Column(name=LENGTHS, form=Form("integer"), optional=True)] if long and LENGTHS not in found else []
    return {**found, **{each.name: each for each in (*lengths, Column(name=ITEM, form=Form("json")))}}


@cache
def outputs(task: str) -> Columns:
    """The tensors that a task answers: the fields of its output, and whole outputs."""
    found = _columns(catalog.card(task).output.model_json_schema())
    return {**found, OUTPUT: Column(name=OUTPUT, form=Form("json"))}


def inlined(schema: Any, defs: Mapping[str, Any] | None = None) -> Any:
    """A JSON Schema without references."""
    if isinstance(schema, list):
        return [inlined(each, defs) for each in schema]
    if not isinstance(schema, dict):
        return schema
    known = schema.get("$defs", {}) if defs is None else defs
    if "$ref" in schema:
        return inlined(known[schema["$ref"].rpartition("/")[2]], known)
    return {key: inlined(value, known) for key, value in schema.items() if key != "$defs"}


def _columns(schema: Mapping[str, Any]) -> dict[str, Column]:
    found: dict[str, Column] = {}
    for shape in _branches(inlined(schema)):
        for name, field in shape.get("properties", {}).items():
            branches = list(_branches(field))
            found[name] = Column(
                name=name,
                form=_merged([_form(each) for each in branches if not _npy(each) and each.get("type") != "null"]),
                optional=name not in shape.get("required", ()),
                array=any(map(_npy, branches)),
            )
    return found


def _branches(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The shapes that a schema allows."""
    if "anyOf" not in schema:
        yield schema
    for each in schema.get("anyOf", ()):
        yield from _branches(each)


def _npy(schema: Mapping[str, Any]) -> bool:
    return set(schema.get("properties", ())) == {"npy"}


def _form(schema: Mapping[str, Any]) -> Form:
    kind = schema.get("type")
    if kind == "string" and schema.get("contentEncoding") == "base64":
        return Form("base64")
    if kind in SIMPLE:
        return Form(SIMPLE[kind])
    if kind not in ("array", "object") or schema.get("properties"):
        return Form("json")
    inner = schema.get("items" if kind == "array" else "additionalProperties")
    if not isinstance(inner, Mapping):
        return Form("json")
    within = _merged([_form(each) for each in _branches(inner) if each.get("type") != "null"])
    depths = tuple(depth + 1 for depth in within.depths) if kind == "array" else within.depths
    made = Form(within.leaf, depths, named=kind == "object")
    fits = depths[-1] <= DEEPEST.get(within.leaf, -1) and not within.named
    return made if fits and (kind == "array" or (within.leaf == "number" and depths[-1] < 2)) else Form("json")


def _merged(forms: list[Form]) -> Form:
    """What several shapes of one field have in common: whole numbers are numbers, and may be written as text."""
    leaves = {form.leaf for form in forms}
    named = {form.named for form in forms}
    for leaf in ("number", "text"):
        if leaves in ({leaf}, {leaf, "integer"}) and len(named) == 1:
            return Form(leaf, tuple(sorted({depth for form in forms for depth in form.depths})), named=named.pop())
    return forms[0] if len(set(forms)) == 1 else Form("json")
