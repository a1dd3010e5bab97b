"""What the examples share: rows go up, a training is waited for, items are asked about. Knows HTTP alone."""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx


@contextmanager
def connected() -> Iterator[httpx.Client]:
    """The service at CELLGATE_URL, asked with CELLGATE_KEY where that is set."""
    address = os.environ.get("CELLGATE_URL", "http://127.0.0.1:8000")
    key = os.environ.get("CELLGATE_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=address, headers=headers, timeout=60) as client:
        yield client


def trained(client: httpx.Client, task: str, rows: list[dict[str, Any]], config: dict[str, Any]) -> dict[str, Any]:
    """Post rows, train on them, and give the finished job's result: `model`, `version`, `metrics`."""
    name = uploaded(client, task, rows)
    return finished(client, {"kind": "train", "task": task, "dataset": name, "model": name, "config": config})["result"]


def uploaded(client: httpx.Client, task: str, rows: list[dict[str, Any]]) -> str:
    """Post rows as a data set of a name of its own."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    return posted(client, task, lines.encode(), "application/x-ndjson")


def posted(client: httpx.Client, task: str, file: bytes, media_type: str) -> str:
    """Post a file as a data set of a name of its own."""
    name = f"example-{uuid.uuid4().hex[:8]}"
    params = {"task": task, "name": name}
    checked(client.post("/v1/datasets", params=params, content=file, headers={"Content-Type": media_type}))
    return name


def finished(client: httpx.Client, asked: dict[str, Any]) -> dict[str, Any]:
    """Submit a job and wait for its end; a failure ends the script with its sentence."""
    job = checked(client.post("/v1/jobs", json=asked))
    while job["state"] in ("queued", "running"):
        time.sleep(0.2)
        job = checked(client.get(f"/v1/jobs/{job['id']}"))
    if job["state"] != "succeeded":
        sys.exit(f"the job {job['state']}: {job['error']}")
    return job


def answers(client: httpx.Client, task: str, model: str, inputs: list[Any], **params: Any) -> list[dict[str, Any]]:
    """One output per input."""
    return list(
        checked(client.post(f"/v1/{task}", json={"inputs": inputs, "model": model, "params": params}))["outputs"]
    )


def checked(response: httpx.Response) -> dict[str, Any]:
    """The JSON of a good answer; a problem ends the script with its sentence."""
    if response.is_error:
        sys.exit(f"{response.status_code}: {response.text}")
    return dict(response.json())
