"""What pydantic finds wrong, as sentences for whoever sent it. Knows no schema."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

Place = tuple[str | int, ...]
"""Where something is wrong: field names and places in lists, from the outermost."""

KINDS = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}
"""What is expected where something of another kind was sent."""

NAME = "^[a-z0-9][a-z0-9._-]{0,63}$"
WORDS = {NAME: "is no name; use a-z, 0-9, '.', '_' and '-', at most 64 of them"}
"""What does not match a pattern, in words."""

SENTENCES = {
    "missing": "`{name}` is missing",
    "extra_forbidden": "unknown field `{name}`",
    "finite_number": "a finite number is expected, not {sent}",
    "greater_than_equal": "at least {ge} is expected, not {sent}",
    "greater_than": "more than {gt} is expected, not {sent}",
    "less_than_equal": "at most {le} is expected, not {sent}",
    "less_than": "less than {lt} is expected, not {sent}",
    "literal_error": "{expected} is expected, not {sent}",
    "enum": "{expected} is expected, not {sent}",
    "too_short": "{actual_length} entries, where at least {min_length} must be",
    "too_long": "{actual_length} entries, where at most {max_length} may be",
    "string_too_short": "the text has fewer than {min_length} characters",
    "string_too_long": "the text is longer than {max_length} characters",
    "string_unicode": "the text is no valid Unicode",
    "string_pattern_mismatch": "{sent} does not match {pattern}",
    "json_invalid": "not JSON: {error}",
}


def said(error: Mapping[str, Any]) -> str:
    """The sentence of one of pydantic's errors, with the value where it is short; a validator's own stands as it is."""
    kind, context = error["type"], error.get("ctx") or {}
    if kind in KINDS:
        return expected([KINDS[kind]], error)
    if kind in ("too_short", "string_too_short") and context.get("actual_length", 0) == 0 and _empty(error):
        return "it is empty"
    if kind.startswith(("datetime_", "date_")):
        return f"{_sent(error)} is no time; write it as 2024-01-31T00:00:00Z"
    if kind == "string_pattern_mismatch" and context.get("pattern") in WORDS:
        return f"{_sent(error)} {WORDS[context['pattern']]}"
    if kind in SENTENCES:
        name = str(error["loc"][-1])[:80] if error.get("loc") else ""
        try:
            bounds = {key: f"{bound:.15g}" if isinstance(bound, float) else bound for key, bound in context.items()}
            return SENTENCES[kind].format(**{"name": name, "sent": _sent(error), **bounds})
        except KeyError:  # an error without its context
            pass
    return str(error["msg"]).removeprefix("Value error, ")


def told(found: Iterable[tuple[Place, Mapping[str, Any]]]) -> list[tuple[Place, str]]:
    """The places and sentences of errors, each once. Where several shapes are taken, that one of them is of another
    kind than what was sent is not told if another one fits and holds a fault."""
    errors = list(found)
    inside = {place[:n] for place, error in errors for n in range(len(place) + (error["type"] not in KINDS))}
    kinds: dict[Place, list[str]] = {}
    for place, error in errors:
        if error["type"] in KINDS and KINDS[error["type"]] not in kinds.setdefault(place, []):
            kinds[place].append(KINDS[error["type"]])
    sentences: dict[tuple[Place, str], None] = {}
    for place, error in errors:
        if error["type"] not in KINDS:
            sentences[place, said(error)] = None
        elif place not in inside:
            sentences[place, expected(kinds[place], error)] = None
    return list(sentences)


def within(place: Sequence[Any], error: Mapping[str, Any], value: Any) -> Place:
    """The steps of a place that lead somewhere in what was sent; the others are a union's shapes, named by pydantic."""
    steps: list[str | int] = []
    for index, step in enumerate(place):
        listed = isinstance(step, int) and hasattr(value, "__len__") and not isinstance(value, str | Mapping)
        inside = listed and step < len(value)
        if inside or (isinstance(value, dict) and step in value):
            value = value[step]
            steps.append(step)
        elif error["type"] == "missing" and index == len(place) - 1:
            steps.append(step)
    return tuple(steps)


def summary(error: ValidationError, value: Any = None) -> str:
    """The first of what is wrong in a value, with its place before it, and every field that is missing or unknown:
    ``entities.0.start: a whole number is expected, not 'x' (and 2 more)``."""
    found = error.errors(include_url=False)
    fields = [said(each) for each in found if each["type"] in ("missing", "extra_forbidden") and len(each["loc"]) == 1]
    if fields:
        return "; ".join(fields[:6])[:600]
    (place, sentence), *others = told(
        (each["loc"] if value is None else within(each["loc"], each, value), each) for each in found
    )
    where = ".".join(str(step)[:80] for step in place)
    more = f" (and {len(others)} more)" if others else ""
    return f"{where + ': ' if where else ''}{sentence[:300]}{more}"


def expected(kinds: list[str], error: Mapping[str, Any]) -> str:
    """What kinds of value are taken where another was sent."""
    return f"{' or '.join(kinds)} is expected, not {_sent(error)}"


def _empty(error: Mapping[str, Any]) -> bool:
    return error.get("input") in ("", [], {})


def _sent(error: Mapping[str, Any]) -> str:
    """A value as its sender knows it, cut where it is long."""
    value = error.get("input")
    if isinstance(value, str):
        return f"'{value[:60]}{'...' if len(value) > 60 else ''}'"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinity"
    if isinstance(value, int | float):
        return f"{value:.15g}" if abs(value) < 1e300 else "a number out of all bounds"
    return "a list" if isinstance(value, list | tuple) else "an object" if isinstance(value, dict) else "what was sent"
