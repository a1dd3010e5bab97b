"""The OpenAPI document: every operation has an example that fits its own schema, and requests that are answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from starlette.testclient import TestClient

from app.api.document import ANSWERS
from models import catalog


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, each in document["paths"].items():
        for method, operation in each.items():
            yield f"{method.upper()} {path}", operation


def good(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The kinds of answer that an operation gives where all is well, but for files."""
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            for kind, content in answer.get("content", {}).items():
                if kind in {"application/json", "text/event-stream"}:
                    yield kind, content


def test_each_answer_is_shown_by_an_example_that_fits_its_schema(document: dict[str, Any]) -> None:
    bare, shown = [], 0
    new = {f"POST /v1/{task}" for task in catalog.names()}  # a task is added in its folder alone, and recorded later
    for name, operation in operations(document):
        for kind, content in good(operation):
            if "example" not in content and name not in new:
                bare.append(f"{name} {kind}")
            elif kind == "application/json" and "example" in content:
                schema = {**content.get("schema", {}), "components": document["components"]}
                jsonschema_rs.validate(schema, content["example"])
                shown += 1
    assert not bare, "run scripts/record_answers"
    assert shown > 30


def test_no_answer_is_of_an_operation_that_is_gone(document: dict[str, Any]) -> None:
    gone = json.loads(ANSWERS.read_text()).keys() - dict(operations(document)).keys()
    assert not gone, "run scripts/record_answers"


def test_each_body_of_json_is_shown_by_an_example(document: dict[str, Any]) -> None:
    schemas, bodies = document["components"]["schemas"], 0
    for name, operation in operations(document):
        content = operation.get("requestBody", {}).get("content", {})
        for kind in content.keys() & {"application/json"} if "multipart/form-data" not in content else ():
            shape = content[kind]["schema"]
            named = schemas[shape["$ref"].rpartition("/")[2]] if "$ref" in shape else shape
            assert "examples" in content[kind] or "examples" in named, name
            bodies += 1
    assert bodies > 10


def test_problems_are_shown_with_their_own_status(document: dict[str, Any]) -> None:
    shown = 0
    for name, operation in operations(document):
        for status, answer in operation["responses"].items():
            if "application/problem+json" in answer.get("content", {}):
                example = answer["content"]["application/problem+json"]["example"]
                assert str(example["status"]) == status, name
                schema = {"$ref": "#/components/schemas/Problem", "components": document["components"]}
                jsonschema_rs.validate(schema, example)
                shown += 1
    assert shown > 100


def test_an_upload_begins_with_a_body_that_has_an_example(document: dict[str, Any]) -> None:
    first = next(iter(document["paths"]["/v1/datasets"]["post"]["requestBody"]["content"].values()))
    assert "label" in first["example"]


def test_the_examples_of_predictions_are_answered(client: TestClient, document: dict[str, Any]) -> None:
    for task in ("sentiment", "forecasting"):
        content = document["paths"][f"/v1/{task}"]["post"]["requestBody"]["content"]["application/json"]
        for example in content["examples"].values():
            assert client.post(f"/v1/{task}", json=example["value"]).status_code == 200


def test_the_docs_page_needs_no_network(client: TestClient) -> None:
    page = client.get("/docs").text
    assert "https://" not in page.replace("https://fastapi.tiangolo.com", "")
