"""The commands' view of a running service. Knows HTTP and progress bars, nothing of the service's insides."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

ENDED = {"succeeded", "failed", "cancelled", "paused"}
TOLD = ("train_loss", "validation_")
"""Beginnings of the metrics that stand beside the bar; the others are for `GET /v1/jobs/{id}/metrics`."""
SILENCE = 60.0
"""Seconds without a word after which a stream of events is taken for broken; a live one says something each 15."""
TRIES = 5
"""Times in a row that a broken stream of events is taken up again."""
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

    def upload(self, path: Path, *, task: str, name: str, of: str = "rows") -> Any:
        """Stream a file of rows, or of items, into a new data set."""
        media = MEDIA.get(path.suffix.lower())
        if media is None:
            raise Problem(f"'{path.name}': the ending must be one of {', '.join(MEDIA)}")
        with path.open("rb") as file:
            return self._send(
                "POST",
                "/v1/datasets",
                params={"task": task, "name": name, "of": of},
                content=file,
                headers={"Content-Type": media},
            )

    def train(self, *, task: str, dataset: str, model: str, config: dict[str, Any]) -> Any:
        """Submit a training job."""
        body = {"kind": "train", "task": task, "dataset": dataset, "model": model, "config": config}
        return self._send("POST", "/v1/jobs", json=body)

    def bulk(self, *, dataset: str, model: str, params: dict[str, Any]) -> Any:
        """Submit a bulk prediction."""
        body = {"kind": "predict", "dataset": dataset, "model": model, "params": params}
        return self._send("POST", "/v1/jobs", json=body)

    def download(self, path: str, into: Path) -> None:
        """Stream an answer to a file: all of it, or nothing."""
        part = into.with_name(into.name + ".part")
        try:
            with self._http.stream("GET", path) as answer, part.open("wb") as file:
                if not answer.is_success:
                    answer.read()
                    raise _objection(answer)
                for chunk in answer.iter_bytes():
                    file.write(chunk)
            part.replace(into)
        except httpx.HTTPError as error:
            raise self._silent(error) from None
        except OSError as error:
            raise Problem(f"'{into}' cannot be written: {error.strerror}") from None
        finally:
            part.unlink(missing_ok=True)

    def job(self, id: str) -> Any:  # noqa: A002
        """A job as it is now."""
        return self._send("GET", f"/v1/jobs/{id}")

    def events(self, id: str) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: A002
        """A job's events, kind and data, from its first until it has ended or is paused.

        A connection that breaks is taken up again after the last event that came.
        """
        after, broken = "0", 0
        while True:
            try:
                for number, kind, data in self._streamed(f"/v1/jobs/{id}/events", after):
                    after, broken = number, 0
                    yield kind, data
                    if kind == "state" and data["state"] in ENDED:
                        return
            except httpx.TransportError as error:
                broken += 1
                if broken > TRIES:
                    raise self._silent(error) from None
            time.sleep(0.5)

    def _streamed(self, path: str, after: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """The server-sent events of one connection: id, kind, data."""
        timeout = httpx.Timeout(30.0, read=SILENCE)
        with self._http.stream("GET", path, headers={"Last-Event-ID": after}, timeout=timeout) as answer:
            if not answer.is_success:
                answer.read()
                raise _objection(answer)
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if line:
                    fields[name] = value
                elif "data" in fields:
                    yield fields["id"], fields["event"], json.loads(fields["data"])
                    fields = {}

    def predict(self, task: str, inputs: list[Any], *, model: str | None, params: dict[str, Any]) -> Any:
        """Answers, one per input."""
        body = {"inputs": inputs, **({"model": model} if model else {}), **({"params": params} if params else {})}
        return self._send("POST", f"/v1/{task}", json=body)

    def _send(self, method: str, path: str, **options: Any) -> Any:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise self._silent(error) from None
        if not answer.is_success:
            raise _objection(answer)
        return answer.json()

    def _silent(self, error: httpx.HTTPError) -> Problem:
        return Problem(f"{self._http.base_url} does not answer ({error}); is `cellgate serve` running?")


def _objection(answer: httpx.Response) -> Problem:
    """What the service says is wrong, with every place it names."""
    try:
        body = answer.json()
    except ValueError:
        return Problem(f"{answer.status_code} {answer.reason_phrase}")
    flaws = [
        f"\n  {flaw.get('pointer') or 'line ' + str(flaw.get('line'))}: {flaw['detail']}"
        for flaw in body.get("errors", [])
    ]
    return Problem(f"{answer.status_code} {body.get('detail') or body.get('title')}{''.join(flaws)}")


def name_for(path: Path) -> str:
    """A data set's name for a file, with the time, so that a file may be uploaded again."""
    stem = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:40] or "data"
    return f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"


def follow(client: Client, id: str, console: Console) -> Any:  # noqa: A002
    """Show a job's progress, event by event, until it has ended; the job as it is then."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[values]}"), TimeElapsedColumn())
    state, epoch = "queued", ""
    with Progress(*columns, console=console) as bar:
        shown = bar.add_task(state, total=1.0, values="")
        for kind, data in client.events(id):
            if kind == "state":
                state = data["state"]
            elif kind == "progress":
                for place, whole in (("epoch", "epochs"), ("row", "rows")):
                    if data.get(whole) is not None:
                        epoch = f", {place} {data[place]} of {data[whole]}"
                bar.update(shown, completed=data["fraction"])
            elif kind == "metrics":
                told = {name: value for name, value in data["values"].items() if name.startswith(TOLD)}
                bar.update(shown, values="  ".join(f"{name} {value:.4g}" for name, value in told.items()))
            elif kind == "log" and data["level"] != "info":
                bar.console.print(f"{data['level']}: {escape(data['text'])}", highlight=False)
            bar.update(shown, description=state + epoch)
        if state == "succeeded":
            bar.update(shown, completed=1.0)
    return client.job(id)
