"""A service in one process with tiny models in it, for the tests of serving and of the API."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import orjson
from starlette.testclient import TestClient

from app import log
from app.clock import Clock
from app.db import migrate
from app.factory import Services, create_app
from app.jobs.executors import Message, Order
from app.jobs.training import run
from app.main import build
from app.settings import Settings
from models import catalog

SMALL = {
    "sentiment": {"hidden": 8, "embedding": 8},
    "forecasting": {"hidden": 8, "windows": 200},
    "sequences": {"hidden": 8, "channels": 8, "bidirectional": False},
    "ner": {"hidden": 16, "embedding": 16, "filters": 16},
    "translation": {"hidden": 16, "embedding": 16},
    "anomaly": {"hidden": 8, "windows": 200},
    "phonemes": {"hidden": 12, "channels": 12},
}


def trained(
    task: str, folder: Path, *, seed: int = 0, rows: Iterable[Mapping[str, object]] | None = None, **config: object
) -> Path:
    """The zip of a version that the training code made from some rows, or from the task's sample."""
    asked = order(task, folder, seed=seed, **config)
    if rows is not None:
        asked.rows.write_bytes(b"".join(orjson.dumps({"part": None, "row": row}) + b"\n" for row in rows))
    messages: list[Message] = []
    run(asked, messages.append, lambda: None)
    assert messages[-1][0] == "done", messages[-1]
    return asked.folder.with_suffix(".zip")


def order(task: str, folder: Path, *, seed: int = 0, **config: object) -> Order:
    """A training of the task's sample."""
    made = folder / f"{task}-{seed}"
    made.mkdir(parents=True)
    checkpoints = folder / f"{task}-{seed}.checkpoints"
    checkpoints.mkdir()
    sample = Path(catalog.__file__).parent / "tasks" / task / "sample.jsonl"
    rows = folder / f"{task}-{seed}.rows"
    with sample.open("rb") as source, rows.open("wb") as sink:
        for line in source:
            row = orjson.loads(line)
            sink.write(orjson.dumps({"part": row.pop("split", None), "row": row}) + b"\n")
    given = catalog.card(task).config.model_validate({"epochs": 1, "seed": seed, **SMALL[task], **config})
    return Order(
        job=f"job_{task}{seed}",
        task=task,
        config=given.model_dump(mode="json"),
        rows=rows,
        vectors=None,
        folder=made,
        checkpoints=checkpoints,
        checkpoint=None,
        dataset={"id": "ds_sample", "digest": "0" * 64},
        threads=1,
        devices=("cpu",),
        meeting=f"file://{folder}/meeting",
        max_seconds=None,
    )


def services(home: Path, *, clock: Clock | None = None, **changed: object) -> Services:
    """The services of a fresh home."""
    home.mkdir(parents=True, exist_ok=True)
    made = build(Settings(home=home, port=0, **changed), clock)  # type: ignore[arg-type]
    log.configure(made.settings)
    migrate.upgrade(made.database)
    return made


@contextmanager
def client(made: Services) -> Iterator[TestClient]:
    """A client of the whole application, started and stopped."""
    with TestClient(create_app(made), raise_server_exceptions=False) as opened:
        yield opened
