"""Finds the tasks by folder. Imports schemas and codecs; a network only when it is asked for."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any

import models.tasks
from models.stream import AnyStream
from models.task import AnyCodec, AnyNetwork, Card


class UnknownTask(LookupError):
    """A task that no folder under models/tasks defines."""

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown task '{name}'; known: {', '.join(names())}")


@cache
def names() -> tuple[str, ...]:
    """Every folder under models/tasks, sorted; an empty catalogue is an error."""
    found = tuple(sorted(module.name for module in pkgutil.iter_modules(models.tasks.__path__) if module.ispkg))
    if not found:
        raise RuntimeError("no task found under models/tasks")
    return found


@cache
def cards() -> dict[str, Card]:
    """Every task's card by name; a folder without one is an error."""
    return {name: card(name) for name in names()}


@cache
def card(name: str) -> Card:
    """The card of one task. Raises `UnknownTask`."""
    found = _part(name, "schema", "CARD")
    if not isinstance(found, Card) or found.name != name:
        raise RuntimeError(f"models/tasks/{name}/schema.py must define CARD, a Card named '{name}'")
    return found


@cache
def codec(name: str) -> AnyCodec:
    """The codec of one task (NumPy). Raises `UnknownTask`."""
    made: AnyCodec = _part(name, "codec", "CODEC")
    return made


@cache
def network(name: str) -> AnyNetwork:
    """The network of one task. Loads torch. Raises `UnknownTask`."""
    made: AnyNetwork = _part(name, "network", "NETWORK")
    return made


@cache
def stream(name: str) -> AnyStream | None:
    """How one task answers step by step (NumPy); None where its card names no steps. Raises `UnknownTask`."""
    if card(name).stream is None:
        return None
    made: AnyStream = _part(name, "stream", "STREAM")
    return made


def _part(name: str, module: str, attribute: str) -> Any:
    if name not in names():
        raise UnknownTask(name)
    try:
        return getattr(importlib.import_module(f"models.tasks.{name}.{module}"), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise RuntimeError(f"models/tasks/{name}/{module}.py must define {attribute}: {error}") from error
