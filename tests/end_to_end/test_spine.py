"""Upload, train, watch, call: over HTTP alone, with API and worker as processes, on both databases."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from app import cli
from tests.service import ROOT, Service, running

CONFIG: dict[str, dict[str, Any]] = {
    "sentiment": {"epochs": 2, "hidden": 8, "embedding": 8},
    "forecasting": {"epochs": 1, "hidden": 8, "windows": 20, "adjust": "none"},
}
INPUT: dict[str, Any] = {
    "sentiment": "I loved this movie!",
    "forecasting": {"values": [10.1, 10.2, 10.4, 9.2, 8.9, 8.0] * 8, "freq": "M"},
}


def submit(service: Service, task: str, **config: Any) -> str:
    """A job that trains on the task's own sample."""
    sample = (ROOT / "models" / "tasks" / task / "sample.jsonl").read_bytes()
    headers = {"Content-Type": "application/x-ndjson"}
    made = service.http.post(
        "/v1/datasets", params={"task": task, "name": f"data-{task}"}, content=sample, headers=headers
    )
    assert made.status_code == 201, made.text
    body = {"kind": "train", "task": task, "dataset": made.json()["id"], "model": f"our-{task}"}
    job = service.http.post("/v1/jobs", json={**body, "config": CONFIG[task] | config})
    assert job.status_code == 202, job.text
    assert job.headers["Location"] == f"/v1/jobs/{job.json()['id']}"
    return str(job.json()["id"])


def test_both_tasks_learn_and_answer(empty_url: str, tmp_path: Path) -> None:
    with running(tmp_path / "home", CELLGATE_DATABASE_URL=empty_url) as service:
        jobs = {task: submit(service, task) for task in CONFIG}
        for task, job in jobs.items():
            view = service.ended(job)
            assert view["state"] == "succeeded", view["error"]
            assert view["result"]["version"] == 1
            assert [step["state"] for step in view["transitions"]] == ["queued", "running", "succeeded"]
            answer = service.http.post(f"/v1/{task}", json={"inputs": [INPUT[task]]})
            assert answer.status_code == 200, answer.text
            assert answer.json()["model"] == {"name": f"our-{task}", "version": 1, "task": task}
            assert len(answer.json()["outputs"]) == 1
        assert answered(service, tmp_path) == ["output", "output"]
        events = service.http.get(f"/v1/jobs/{jobs['sentiment']}/events").text
        assert [json.loads(line[6:])["state"] for line in events.splitlines() if '"state"' in line][-1] == "succeeded"
        assert service.stop() < 10
    assert not [process for process in children(service) if process.is_running()]


def answered(service: Service, folder: Path) -> list[str]:
    """What the command has made of a file of two items: an output or an error for each."""
    (folder / "items.jsonl").write_text('{"text": "fine"}\n{"text": "dull"}\n')
    asked = ["predict", "sentiment", "--dataset", str(folder / "items.jsonl"), "--model", "our-sentiment"]
    done = CliRunner().invoke(cli.app, [*asked, "--out", str(folder / "answers.jsonl"), "--url", service.url])
    assert done.exit_code == 0, done.output
    assert "2 rows answered, 0 of them by an error" in done.stdout
    return [list(json.loads(line))[1] for line in (folder / "answers.jsonl").read_text().splitlines()]


def test_a_killed_workers_job_is_finished_by_the_next(tmp_path: Path) -> None:
    with running(tmp_path / "home", CELLGATE_LEASE_SECONDS="2") as service:
        job = submit(service, "sentiment", epochs=40, patience=40)
        service.until(job, {"running"})
        lost = workers(service)
        assert len(lost) == 1
        os.kill(lost[0].pid, signal.SIGKILL)
        view = service.ended(job, within=90)
        assert view["state"] == "succeeded", view["error"]
        assert view["attempt"] == 2
        assert lost[0].pid not in [process.pid for process in workers(service)]
        assert service.http.post("/v1/sentiment", json={"inputs": ["fine"]}).status_code == 200


def test_stopping_ends_every_process_while_a_job_runs(tmp_path: Path) -> None:
    with running(tmp_path / "home") as service:
        job = submit(service, "sentiment", epochs=5000, patience=5000)
        service.until(job, {"running"})
        time.sleep(0.5)
        every = children(service)
        assert len(every) > 1
        assert service.stop() < 10
        _, alive = psutil.wait_procs(every, timeout=3)
        assert not alive


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("CELLGATE_PROT", "1", "unknown setting CELLGATE_PROT"),
        ("CELLGATE_PORT", "x", "CELLGATE_PORT"),
        ("CELLGATE_HOST", "0.0.0.0", "without keys"),  # noqa: S104 - it must be refused
    ],
)
def test_what_cannot_be_served_stops_the_start_with_a_sentence(
    name: str, value: str, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match="it did not start") as refused, running(tmp_path, **{name: value}):
        pass
    assert sentence in " ".join(str(refused.value).split())
    assert "Traceback" not in str(refused.value)


def children(service: Service) -> list[psutil.Process]:
    """Every process that the service started and that still runs."""
    try:
        return psutil.Process(service.process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def workers(service: Service) -> list[psutil.Process]:
    """The worker processes."""
    return [process for process in psutil.Process(service.process.pid).children() if "worker" in process.cmdline()]
