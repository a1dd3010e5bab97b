"""The OpenAPI document: the shape of problems, a sentence for each operation, and an answer as its example.

The examples are answers that a service gave: `scripts/record_answers` asks one and writes `answers.json`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from app.api import problems
from app.api.dialects import spoken

ANSWERS = Path(__file__).with_name("answers.json")


def describe(app: FastAPI) -> None:
    """Complete the OpenAPI document that an application makes of its routes."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        if "Problem" not in schemas:
            made = problems.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(made.pop("$defs", {}))
            schemas["Problem"] = made
            for shape in ("HTTPValidationError", "ValidationError"):
                schemas.pop(shape, None)
            _complete(document)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: dict[str, Any]) -> None:
    """Summaries in place of functions' names, and the recorded answers."""
    answers = json.loads(ANSWERS.read_text())
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if spoken(path) is not None:
                operation["responses"].pop("422", None)  # FastAPI's own, which no protocol here answers with
            operation["summary"] = operation.get("description", operation["summary"]).split("\n")[0]
            for status, kinds in answers.get(f"{method.upper()} {path}", {}).items():
                for kind, answer in kinds.items():
                    operation["responses"][status]["content"][kind]["example"] = answer
