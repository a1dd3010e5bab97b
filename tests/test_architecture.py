"""Who may import whom, read from the sources. Knows layers, never what the code does."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

LAYERS: dict[str, int] = {
    "models": 0,
    "models.tasks": 0,
    "models.tasks.*.codec": 2,
    "models.tasks.*.stream": 2,
    "models.tasks.*.network": 6,
    "models.families": 1,
    "models.families.*.schema": 0,
    "models.families.*.codec": 1,
    "models.families.*.network": 5,
    "models.runtimes": 0,
    "models.runtimes.onnx_run": 3,
    "models.predictor": 3,
    "models.footprint": 3,
    "models.artifact": 3,
    "models.calibration": 3,
    "models.devices": 3,
    "models.nets": 4,
    "models.runtimes.torch_run": 7,
    "models.runtimes.export": 7,
    "models.runtimes.int8": 7,
    "models.checkpoint": 4,
    "models.best": 4,
    "models.memory": 4,
    "models.team": 4,
    "models.judge": 7,
    "models.warm": 7,
    "models.gradient": 7,
    "models.inspection": 7,
    "models.learner": 7,
    "models.trainer": 7,
    "app": 13,
    "app.allocator": 8,
    "app.clock": 8,
    "app.errors": 8,
    "app.settings": 8,
    "app.log": 8,
    "app.metrics": 8,
    "app.scratch": 8,
    "app.db": 9,
    "app.blobs": 9,
    "app.serving": 9,
    "app.serving.inspections": 10,
    "app.serving.predictions": 10,
    "app.serving.served": 10,
    "app.serving.sessions": 10,
    "app.jobs": 12,
    "app.jobs.problems": 10,
    "app.jobs.queue": 10,
    "app.services": 10,
    "app.api": 11,
    "app.factory": 11,
    "app.serving.loaded": 12,
}
"""The layer of a package or module; the longest match counts. A module imports its own or below."""

TORCH_FROM, TORCH_TO = 4, 7
MAY_LOAD_TORCH = {"app.jobs.training", "app.jobs.evaluation"}
"""What lies above the torch line and may cross it: it runs in the child process that learns."""

FORBIDDEN: dict[str, set[str]] = {
    "models": {"app", "fastapi", "starlette", "sqlalchemy", "alembic", "uvicorn", "httpx"},
    "app.api": {"torch", "sqlalchemy"},
    "app.services": {"torch", "fastapi", "starlette"},
    "app.db": {"torch", "fastapi", "starlette", "models"},
    "app.serving.batcher": {"torch", "fastapi", "starlette", "sqlalchemy", "models"},
    "app.serving.streams": {"torch", "numpy", "fastapi", "starlette", "sqlalchemy", "models"},
    "app.serving.pace": {"torch", "numpy", "fastapi", "starlette", "sqlalchemy", "models"},
}


@dataclass(frozen=True)
class Import:
    """One import statement: who, what, and whether a function hides it."""

    module: str
    imported: str
    line: int
    hidden: bool = False


def sources() -> dict[str, str]:
    """Every module of the product that is not empty, by its dotted name."""
    found = {}
    for package in ("models", "app"):
        for path in (ROOT / package).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found[name] = path.read_text(encoding="utf-8")
    return {name: text for name, text in found.items() if text.strip()}


def imports(texts: Mapping[str, str]) -> list[Import]:
    """What each module imports when it runs; `if TYPE_CHECKING` does not run."""
    return [found for name, text in texts.items() for found in _imports(name, ast.parse(text), set(texts), False)]


def _imports(module: str, node: ast.AST, known: set[str], hidden: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (Import(module, alias.name, child.lineno, hidden) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{module}:{child.lineno} imports relatively"
            for alias in child.names:
                whole = f"{child.module}.{alias.name}"
                yield Import(module, whole if whole in known else str(child.module), child.lineno, hidden)
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _imports(module, child, known, hidden or function)


def layer(module: str) -> int:
    """The layer of a module, by the longest name that matches; `*` stands for one task or family."""
    parts = module.split(".")
    for end in range(len(parts), 0, -1):
        name = parts[:end]
        starred = [*name[:2], "*", *name[3:]] if len(name) > 2 else name
        for key in (".".join(name), ".".join(starred)):
            if key in LAYERS:
                return LAYERS[key]
    raise AssertionError(f"'{module}' lies in no layer")


def ours(name: str) -> bool:
    return name.split(".", maxsplit=1)[0] in {"models", "app"}


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def task_of(name: str) -> str | None:
    parts = name.split(".")
    return parts[2] if parts[:2] == ["models", "tasks"] and len(parts) > 2 else None


def faults(texts: Mapping[str, str]) -> list[str]:
    """Every broken rule, a sentence each."""
    return [sentence for found in imports(texts) for sentence in _judged(found)]


def _judged(found: Import) -> Iterator[str]:
    at = f"{found.module}:{found.line} imports {found.imported}"
    if found.hidden:
        yield f"{at} inside a function"
    for package, banned in FORBIDDEN.items():
        if within(found.module, package) and any(within(found.imported, name) for name in banned):
            yield f"{at}, which {package} must not know"
    mine = layer(found.module)
    torch_side = TORCH_FROM <= mine <= TORCH_TO or found.module in MAY_LOAD_TORCH
    needs_torch = found.imported.split(".")[0] == "torch" or found.imported.startswith("safetensors.torch")
    if ours(found.imported):
        needs_torch = TORCH_FROM <= layer(found.imported) <= TORCH_TO
        if layer(found.imported) > mine:
            yield f"{at}, which lies above it ({layer(found.imported)} > {mine})"
        one, other = task_of(found.module), task_of(found.imported)
        if one and other and one != other:
            yield f"{at}: tasks do not import each other"
    if needs_torch and not torch_side:
        yield f"{at}: no torch this side of the line"


def cycle(texts: Mapping[str, str]) -> list[str]:
    """Modules that import each other in a ring; empty where there is none."""
    graph: dict[str, set[str]] = {name: set() for name in texts}
    for found in imports(texts):
        if found.imported in graph:
            graph[found.module].add(found.imported)
    while free := [name for name, needs in graph.items() if not needs & graph.keys()]:
        for name in free:
            del graph[name]
    return sorted(graph)


def test_every_import_keeps_the_rules() -> None:
    texts = sources()
    assert len(texts) > 25, "nearly nothing was found to check"
    assert len([i for i in imports(texts) if ours(i.imported)]) > 50, "nearly no import was found to check"
    assert faults(texts) == []


def test_there_is_no_ring_of_imports() -> None:
    assert cycle(sources()) == []


def test_every_layer_named_here_exists() -> None:
    paths = [ROOT / "models", ROOT / "app", *(ROOT / "models").rglob("*"), *(ROOT / "app").rglob("*")]
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths}
    assert [name for name in (*LAYERS, *FORBIDDEN) if "*" not in name and name not in names] == []


@pytest.mark.parametrize(
    ("module", "text", "sentence"),
    [
        ("models.batch", "import fastapi", "must not know"),
        ("models.task", "from app.errors import Invalid", "must not know"),
        ("models.predictor", "import models.trainer", "above it"),
        ("models.predictor", "import torch", "no torch"),
        ("models.artifact", "from safetensors.torch import save_file", "no torch"),
        ("models.tasks.ner.codec", "from models.tasks.ner import network", "above it"),
        ("models.tasks.ner.codec", "import models.tasks.melody.schema", "each other"),
        ("models.catalog", "def f():\n    import json", "inside a function"),
        ("app.api.jobs", "from sqlalchemy import select", "must not know"),
        ("app.services.jobs", "from app.api.deps import services", "above it"),
        ("app.serving.batcher", "import models.batch", "must not know"),
        ("app.serving.loaded", "import models.runtimes.torch_run", "no torch"),
        ("app.worker", "import models.trainer", "no torch"),
    ],
)
def test_each_rule_finds_its_fault(module: str, text: str, sentence: str) -> None:
    known = {"models.tasks.ner.network": "", "models.trainer": ""}
    assert any(sentence in fault for fault in faults({**known, module: text}))


def test_what_only_types_need_is_free_and_rings_are_found() -> None:
    assert faults({"models.task": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"}) == []
    assert cycle({"models.a": "import models.b", "models.b": "from models import a"}) == ["models.a", "models.b"]


def test_cards_codecs_and_the_service_load_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "import app.factory\n"
        "from models import catalog\n"
        "assert catalog.cards() and [catalog.codec(name) for name in catalog.names()]\n"
        "heavy = {'torch', 'scipy', 'sklearn', 'matplotlib'} & sys.modules.keys()\n"
        "assert not heavy, f'{heavy} were imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=ROOT)
