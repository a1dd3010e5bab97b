"""The commands' view of a running service. Knows HTTP and progress bars, nothing of the service's insides."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

ENDED = {"succeeded", "failed", "cancelled", "paused"}
MEDIA = {
    ".jsonl": "application/x-ndjson",
    ".ndjson": "application/x-ndjson",
    ".json": "application/json",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".txt": "text/plain",
    ".parquet": "application/vnd.apache.parquet",
    ".zip": "application/zip",
}


class Problem(Exception):
    """What the service, or the way to it, objects to: a sentence."""


class Client:
    """A connection to one service. Every method returns the decoded answer or raises `Problem`."""

    def __init__(self, url: str, key: str = "") -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=httpx.Timeout(30.0, read=600.0))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def upload(self, path: Path, *, task: str, name: str) -> Any:
        """Stream a file into a new data set."""
        media = MEDIA.get(path.suffix.lower())
        if media is None:
            raise Problem(f"'{path.name}': the ending must be one of {', '.join(MEDIA)}")
        with path.open("rb") as file:
            return self._send(
                "POST",
                "/v1/datasets",
                params={"task": task, "name": name},
                content=file,
                headers={"Content-Type": media},
            )

    def train(self, *, task: str, dataset: str, model: str, config: dict[str, Any]) -> Any:
        """Submit a training job."""
        body = {"kind": "train", "task": task, "dataset": dataset, "model": model, "config": config}
        return self._send("POST", "/v1/jobs", json=body)

    def job(self, id: str) -> Any:  # noqa: A002
        """A job as it is now."""
        return self._send("GET", f"/v1/jobs/{id}")

    def predict(self, task: str, inputs: list[Any], *, model: str | None, params: dict[str, Any]) -> Any:
        """Answers, one per input."""
        body = {"inputs": inputs, **({"model": model} if model else {}), **({"params": params} if params else {})}
        return self._send("POST", f"/v1/{task}", json=body)

    def _send(self, method: str, path: str, **options: Any) -> Any:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise Problem(f"{self._http.base_url} does not answer ({error}); is `cellgate serve` running?") from None
        if answer.is_success:
            return answer.json()
        try:
            body = answer.json()
        except ValueError:
            raise Problem(f"{answer.status_code} {answer.reason_phrase}") from None
        flaws = [
            f"\n  {flaw.get('pointer') or 'line ' + str(flaw.get('line'))}: {flaw['detail']}"
            for flaw in body.get("errors", [])
        ]
        raise Problem(f"{answer.status_code} {body.get('detail') or body.get('title')}{''.join(flaws)}")


def name_for(path: Path) -> str:
    """A data set's name for a file, with the time, so that a file may be uploaded again."""
    stem = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:40] or "data"
    return f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"


def follow(client: Client, id: str, console: Console) -> Any:  # noqa: A002
    """Show a job's progress until it has ended; the job as it is then."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[values]}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        shown = bar.add_task("queued", total=1.0, values="")
        while True:
            job = client.job(id)
            progress, metrics = job["progress"] or {}, job["metrics"] or {}
            values = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items() if isinstance(value, float))
            label = job["state"]
            if progress.get("epochs"):
                label += f", epoch {progress.get('epoch') or 0} of {progress['epochs']}"
            done = 1.0 if job["state"] == "succeeded" else progress.get("fraction") or 0.0
            bar.update(shown, completed=done, description=label, values=values)
            if job["state"] in ENDED:
                return job
            time.sleep(0.5)
