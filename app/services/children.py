"""The trainings that a request of several comes down to: child jobs, which any worker may take. Knows no table.

A comparison says in advance what each child varies. A trial of a study decides it when its turn comes, knowing
what the trials before it found: its request carries the `study`, whose options and values are checked here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from app.errors import Flaw, Invalid
from app.services.requests import MOST_RUNS, AnyRequest, CompareRequest, Range, TuneRequest, checked
from models import catalog

NOT_SEARCHED = {
    "seed": "a lucky seed is no finding: `compare` holds seeds against each other",
    "processes": "it changes no result",
    "refit": "the validation part, which trials are held against, is then learnt from",
}
"""Options that no study may vary, and why."""


def children(request: AnyRequest) -> list[dict[str, Any]]:
    """The requests of a job's children, each with what it `varies`; none for a job that works by itself.

    Raises `Invalid` with the place of each fault.
    """
    if isinstance(request, CompareRequest):
        return _runs(request)
    return _trials(request) if isinstance(request, TuneRequest) else []


def _runs(request: CompareRequest) -> list[dict[str, Any]]:
    """Those of a comparison come seed by seed, so that its cells can be compared before all have run. Patience is
    off unless the config sets it: every run then takes the same steps along the same learning rates, and
    the best of its epochs is kept as ever."""
    if "cell" in request.config:
        raise _at("/config/cell", "name the cells in `cells`: they are what varies")
    if len(request.cells) * request.seeds > MOST_RUNS:
        detail = f"{len(request.cells)} cells with {request.seeds} seeds are more than {MOST_RUNS} trainings"
        raise _at("/seeds", detail)
    whole = checked(request.task, request.config)
    if "patience" not in request.config:
        whole["patience"] = whole["epochs"]
    varied = [{"cell": cell, "seed": whole["seed"] + turn} for turn in range(request.seeds) for cell in request.cells]
    return [{**_shared(request), "config": checked(request.task, {**whole, **each}), "varies": each} for each in varied]


def _trials(request: TuneRequest) -> list[dict[str, Any]]:
    """Those of a study know their number and the space, and nothing yet of what they try."""
    whole = checked(request.task, request.config)
    space = _space(request)
    number = min(request.trials, combinations(space))
    return [
        {
            **_shared(request),
            "config": whole,
            "varies": {"trial": index},
            "study": {"search": space, "seed": request.seed, "trials": number},
        }
        for index in range(number)
    ]


def combinations(space: Mapping[str, Mapping[str, Any]]) -> int:
    """Trials that differ, `MOST_RUNS` where there are more: numbers that are not whole have no end."""
    sizes = [
        len(options["choices"])
        if "choices" in options
        else options["high"] - options["low"] + 1
        if options["whole"]
        else MOST_RUNS
        for options in space.values()
    ]
    return min(MOST_RUNS, math.prod(sizes))


def _shared(request: CompareRequest | TuneRequest) -> dict[str, Any]:
    shared = {"task", "dataset", "model", "priority", "needs"}
    return {"kind": "train", **request.model_dump(mode="json", include=shared, exclude_none=True)}


def _space(request: TuneRequest) -> dict[str, dict[str, Any]]:
    """Each option with its checked `choices`, or with `low`, `high`, `log` and whether its numbers are `whole`."""
    known = catalog.card(request.task).config.model_json_schema()["properties"]
    space: dict[str, dict[str, Any]] = {}
    for name, given in request.search.items():
        place = "/search/" + name.replace("~", "~0").replace("/", "~1")
        if name not in known:
            raise _at(
                place, f"the task '{request.task}' has no option '{name[:64]}'; it has: {', '.join(sorted(known))}"
            )
        if name in NOT_SEARCHED:
            raise _at(place, f"`{name}` is not searched for: {NOT_SEARCHED[name]}")
        if name in request.config:
            raise _at(f"/config/{name}", f"`{name}` is searched for: leave it out of `config`")
        if isinstance(given, Range):
            space[name] = _range(request, name, given, kinds=_kinds(known[name]))
        else:
            space[name] = {"choices": _choices(request, name, given)}
    return space


def _choices(request: TuneRequest, name: str, given: Sequence[Any]) -> list[Any]:
    found: list[Any] = []
    for index, value in enumerate(given):
        place = f"/search/{name}/{index}"
        choice = _value(request, name, value, place)
        if choice in found:
            raise _at(place, f"{value!r} stands twice")
        found.append(choice)
    return found


def _range(request: TuneRequest, name: str, given: Range, *, kinds: set[str]) -> dict[str, Any]:
    place = f"/search/{name}"
    if not kinds & {"integer", "number"}:
        raise _at(place, f"`{name}` is no number: give a list of choices")
    whole = "number" not in kinds
    for bound, value in (("low", given.low), ("high", given.high)):
        if whole and value != int(value):
            raise _at(f"{place}/{bound}", f"`{name}` is a whole number, and {value:g} is none")
        _value(request, name, int(value) if whole else value, f"{place}/{bound}")
    if given.low >= given.high:
        raise _at(f"{place}/high", f"the range ends at {given.high:g}, which is not above its start {given.low:g}")
    if given.log and given.low <= 0:
        raise _at(f"{place}/low", f"orders of magnitude begin above 0, and `low` is {given.low:g}")
    cast = int if whole else float
    return {"low": cast(given.low), "high": cast(given.high), "log": given.log, "whole": whole}


def _value(request: TuneRequest, name: str, value: Any, place: str) -> Any:
    """One value of an option as the config holds it."""
    try:
        return checked(request.task, {**request.config, name: value})[name]
    except Invalid as error:
        raise _at(place, f"{name}: {error.errors[0].detail}") from None


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    """The JSON types that an option may have."""
    return {kind for branch in schema.get("anyOf", [schema]) if (kind := branch.get("type"))}


def _at(place: str, detail: str) -> Invalid:
    return Invalid(detail, errors=[Flaw(detail=detail, pointer=place)])
