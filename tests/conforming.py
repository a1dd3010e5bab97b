"""Sends a service what schemathesis makes of its OpenAPI document, with names and ids that exist there put in.

Without them most addresses answer 404 and nothing behind them is reached. Says what does not conform: a 5xx
where none is due, an undocumented status, an answer that does not fit its schema, a hang, a traceback.
"""

from __future__ import annotations

import collections
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.service import ROOT

HANG = 30.0
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
LEAKS = ("Traceback", 'File "', "sqlalchemy", "site-packages", "SELECT ")
REAL = 0.85
"""Share of the requests in which a name is one that exists."""
GOOD = 0.4
"""Share of the predictions that are asked of a good item, so that a network runs."""
INFERRED: dict[str, Any] = {
    "inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["good"]}],
    "outputs": [{"name": "label"}],
    "parameters": {"top_k": 1},
}
"""Good fields of an inference by tensors."""
MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)


@schemathesis.serializer(
    "application/zip", "application/octet-stream", "application/vnd.apache.parquet", "application/x-ndjson",
    "application/jsonl", "text/csv", "text/tab-separated-values", "text/plain",
)  # fmt: skip
def as_it_is(_: Any, value: Any) -> bytes:
    """A file's bytes, whatever was made for them."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


@dataclass
class Found:
    """What came of the requests."""

    statuses: collections.Counter[tuple[str, int]] = field(default_factory=collections.Counter)
    """How often each operation answered with each status."""
    faults: list[str] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return sum(self.statuses.values())

    def shallow(self) -> list[str]:
        """The operations that never did what they are for."""
        good = {name for (name, status), _ in self.statuses.items() if status < 300}
        return sorted({name for name, _ in self.statuses} - good)


class Names:
    """Names and ids of things that exist; what a request uses up is made again."""

    def __init__(self, http: httpx.Client, dice: random.Random) -> None:
        self.http, self.dice, self._made = http, dice, 0
        sample = (ROOT / "models/tasks/sentiment/sample.jsonl").read_bytes()
        self._rows = b"\n".join(sample.splitlines()[:12])
        self.dataset("opinions")
        self.vectors("glove")
        self.files = {
            "/v1/datasets": ("application/x-ndjson", self._rows),
            "/v1/vectors": ("text/plain", b"good 0.1 0.9\nbad 0.8 0.2\n"),
            "/v1/models/import": ("application/zip", http.get("/v1/models/reviews/versions/1/artifact").content),
        }
        """Good files for the operations that take one."""
        done = [job["id"] for job in self._items("/v1/jobs?state=succeeded")]
        self.ended = [*done, self.cancelled()]
        models, cards = self._items("/v1/models"), self._items("/v1/tasks")
        self.models = [model["name"] for model in models]
        self.tasks = [card["name"] for card in cards]
        self.model_for = {f"/v1/{model['task']}": model["name"] for model in models}
        self.items = {"/hf/{ref}": ["good"], **{f"/v1/{card['name']}": card["examples"] for card in cards}}
        """Good items for the operations that predict."""

    def _items(self, path: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.http.get(path).raise_for_status().json()["items"]
        return items

    def fresh(self) -> str:
        self._made += 1
        return f"made-{self._made}"

    def dataset(self, name: str) -> str:
        query, headers = {"task": "sentiment", "name": name}, {"Content-Type": "application/x-ndjson"}
        self.http.post("/v1/datasets", params=query, content=self._rows, headers=headers).raise_for_status()
        return name

    def vectors(self, name: str) -> str:
        self.http.post("/v1/vectors", params={"name": name}, content=b"good 0.1 0.9\nbad 0.8 0.2\n").raise_for_status()
        return name

    def session(self) -> str:
        id: str = self.http.post("/v1/sessions", json={"model": "sales"}).raise_for_status().json()["id"]  # noqa: A001
        return id

    def job(self) -> str:
        body = {"kind": "train", "task": "sentiment", "dataset": "opinions", "model": "made", "config": {"epochs": 1}}
        id: str = self.http.post("/v1/jobs", json=body).raise_for_status().json()["id"]  # noqa: A001
        return id

    def cancelled(self) -> str:
        id = self.job()  # noqa: A001
        self.http.post(f"/v1/jobs/{id}/cancel").raise_for_status()
        return id

    def for_path(self, method: str, path: str, name: str) -> Any:
        """A value for a parameter of a path."""
        dice = self.dice
        if name == "id" and path.startswith("/v1/sessions"):
            return self.session()
        if name == "id" and path.startswith("/v1/datasets"):
            return self.dataset(self.fresh()) if method == "DELETE" else "opinions"
        if name == "id" and (method == "DELETE" or path.endswith(("/retry", "/resume"))):
            return self.cancelled()
        if name == "id" and method == "POST":
            return self.job()
        if name == "name" and path.startswith("/v1/vectors"):
            return self.vectors(self.fresh()) if method == "DELETE" else "glove"
        made: dict[str, Callable[[], Any]] = {
            "id": lambda: dice.choice(self.ended),
            "name": lambda: dice.choice(self.models),
            "model": lambda: "reviews",
            "ref": lambda: "reviews" + dice.choice(["", "@production", ":1"]),
            "version": lambda: dice.choice([1, 1, 2]),
            "alias": lambda: dice.choice(["production", "staging"]),
            "task": lambda: "sentiment" if method == "PUT" else dice.choice(self.tasks),
        }
        return made[name]() if name in made else None

    def for_field(self, path: str, name: str) -> Any:
        """A value for a parameter of the query or a field of the body; None: leave what was made."""
        if name == "name":
            return self.fresh()
        bodies = {"gates": {"input": self.dice.choice(["good", {"text": "bad"}])}, "infer": INFERRED}
        last = path.rpartition("/")[2]
        if last in bodies:
            return bodies[last].get(name) if last == "gates" or self.dice.random() < GOOD else None
        if path.startswith("/v1/sessions"):
            made = {"model": "sales", "inputs": [1.5, None, {"value": 2}], "item": {"freq": "M"}, "params": {}}
            return made[name] if self.dice.random() < GOOD else "sales" if name == "model" else None
        if path in self.items:
            good = name == "inputs" and self.dice.random() < GOOD
            return (
                [self.dice.choice(self.items[path])] if good else self.model_for.get(path) if name == "model" else None
            )
        if name == "model" and path != "/v1/jobs":
            return "reviews" if path.endswith("/default") else None
        fixed = {"task": "sentiment", "dataset": "opinions", "model": "made", "version": 1, "alias": "production"}
        return fixed.get(name)

    def put_into(self, case: Any) -> None:
        """Give a request names that exist, most of the time."""
        path, real = case.operation.path, self.dice.random() < REAL
        if not real:
            return
        for name in case.path_parameters or {}:
            value = self.for_path(case.method.upper(), path, name)
            case.path_parameters[name] = case.path_parameters[name] if value is None else value
        if path in self.files and self.dice.random() < REAL:
            case.media_type, case.body = self.files[path]
        for holder in (case.query, case.body):
            for name in [*holder] if isinstance(holder, dict) else ():
                value = self.for_field(path, name)
                if value is not None:
                    holder[name] = value


def conforming(url: str, *, each: int, number: int = 0) -> Found:
    """So many requests to each operation, half of them as the document says and half not quite; a seed repeats them."""
    found, dice = Found(), random.Random(number)  # noqa: S311
    document = schemathesis.openapi.from_url(f"{url}/openapi.json")
    with httpx.Client(base_url=url, timeout=30) as http, requests.Session() as session:
        names = Names(http, dice)

        def judged(case: Any) -> None:
            names.put_into(case)
            _judged(case, session, found)

        for operation in _operations(document):
            for mode in MODES:
                _for_each(operation.as_strategy(generation_mode=mode), each // 2, number, judged)
    return found


def _operations(document: Any) -> Iterator[Any]:
    for result in document.get_all_operations():
        yield result.ok()


def _for_each(cases: st.SearchStrategy[Any], count: int, number: int, judged: Callable[[Any], None]) -> None:
    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def one(case: Any) -> None:
        judged(case)

    with suppress(Unsatisfiable):  # nothing can be wrong about an operation that takes nothing
        one()


def _judged(case: Any, session: requests.Session, found: Found) -> None:
    label, began = f"{case.method.upper()} {case.operation.path}", time.monotonic()
    try:
        answer = case.call(session=session, timeout=HANG)
    except requests.Timeout:
        found.faults.append(f"no answer within {HANG} s: {case.as_curl_command()}")
        return
    found.statuses[label, answer.status_code] += 1
    text = answer.content.decode(errors="replace")
    curl = case.as_curl_command()
    told = f"{answer.status_code} after {time.monotonic() - began:.1f} s, {curl[:600]}\n  {text[:300]}"
    if answer.status_code >= 500 and answer.status_code not in {503, 504}:
        found.faults.append(told)
    asked = f"{curl} {case.body}"
    if any(leak in text and leak not in asked for leak in LEAKS):
        found.faults.append(f"leak: {told}")
    try:
        case.validate_response(answer, checks=CHECKS)
    except FailureGroup as failures:
        why = "; ".join(f"{failure.title}: {failure.message}"[:400] for failure in failures.exceptions)
        found.faults.append(f"{why}\n  {told}")
