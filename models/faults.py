"""What pydantic finds wrong, as sentences for whoever sent it. Knows no schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError


def said(error: Mapping[str, Any]) -> str:
    """The sentence of one of pydantic's errors: a validator's own stands without the words put before it."""
    return str(error["msg"]).removeprefix("Value error, ")


def summary(error: ValidationError) -> str:
    """The first of what is wrong, with its place before it: ``entities.0.start: Input should be ...``."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(step)[:80] for step in found["loc"])
    return f"{place + ': ' if place else ''}{said(found)[:300]}"
