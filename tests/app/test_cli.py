"""The commands that need no service of their own, and the following of a job: sentences, exit codes, no traceback."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from app import cli, client, doctor
from app.client import Client, Problem
from app.db.engine import Database
from app.db.repositories.workers import WorkerRepository
from app.db.tables import Job

GONE = "postgresql://me:secret@127.0.0.1:1/x"


def run(home: Path, *arguments: str, **settings: str) -> Result:
    """One command with a home of its own."""
    environment = {"CELLGATE_HOME": str(home), "CELLGATE_PORT": "0", "COLUMNS": "200", **settings}
    done = CliRunner().invoke(cli.app, list(arguments), env=environment)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def test_a_key_is_shown_once_listed_without_its_secret_and_revoked(tmp_path: Path) -> None:
    made = run(tmp_path, "keys", "create", "--scope", "predict, train", "--name", "[bold]ours")
    key = made.stdout.strip()
    assert re.fullmatch(r"cg_[0-9a-f]{12}_\S{43}", key), "standard output holds the key alone"
    assert "not shown again" in made.stderr
    _, id, secret = key.split("_", 2)  # noqa: A001
    listed = run(tmp_path, "keys", "list").stdout
    assert (id in listed, "[bold]ours" in listed, "predict,train" in listed, secret in listed) == (True,) * 3 + (False,)
    assert run(tmp_path, "keys", "revoke", id).exit_code == 0
    assert len(re.findall(r"\d{4}-\d\d-\d\d", run(tmp_path, "keys", "list").stdout)) == 2
    for wrong in (("create", "--scope", "bogus"), ("revoke", "nobody")):
        refused = run(tmp_path, "keys", *wrong)
        assert (refused.exit_code, wrong[-1] in refused.stderr) == (1, True)


def test_migrating_makes_the_database_and_says_so_twice(tmp_path: Path) -> None:
    for _ in range(2):
        done = run(tmp_path / "new", "migrate")
        assert (done.exit_code, done.stdout.strip()) == (0, "the database is current")
    assert (tmp_path / "new" / "cellgate.db").exists()


def test_a_worker_without_the_tables_says_what_to_do_and_ends(tmp_path: Path) -> None:
    done = run(tmp_path / "new", "worker")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "run `cellgate migrate`" in done.stderr


@pytest.mark.parametrize("command", [("migrate",), ("keys", "list"), ("keys", "create"), ("serve",)])
def test_a_database_that_is_away_is_a_sentence_without_the_password(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = run(tmp_path, *command, CELLGATE_DATABASE_URL=GONE)
    assert done.exit_code == 1
    assert "the database cannot be used: " in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.output


def test_a_wrong_setting_is_a_sentence(tmp_path: Path) -> None:
    for name, value, told in (
        ("CELLGATE_DATABASE_URL", "mysql://me:secret@x/y", "CELLGATE_DATABASE_URL: "),
        ("CELLGATE_PORT", "many", "CELLGATE_PORT='many'"),
        ("CELLGATE_BOGUS", "1", "unknown setting CELLGATE_BOGUS"),
        ("CELLGATE_HOME", "/dev/null/x", "/dev/null"),
    ):
        done = run(tmp_path, "migrate", **{name: value})
        assert (done.exit_code, told in done.stderr, "secret" in done.stderr) == (1, True, False), done.stderr


def test_the_doctor_changes_nothing_and_says_what_stands_in_the_way(tmp_path: Path) -> None:
    healthy = run(tmp_path / "new", "doctor")
    assert (healthy.exit_code, healthy.stderr) == (0, "")
    assert "sentiment" in healthy.stdout
    assert not (tmp_path / "new").exists()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ill = run(tmp_path, "doctor", CELLGATE_DATABASE_URL=GONE, CELLGATE_PORT=port)
    assert ill.exit_code == 1
    assert [line.partition(":")[0] for line in ill.stderr.splitlines()] == ["database", "address"]
    assert "secret" not in ill.output
    run(tmp_path, "migrate")
    open_to_all = run(tmp_path, "doctor", CELLGATE_HOST="::")
    assert open_to_all.exit_code == 1
    assert "keys create" in open_to_all.stderr


def queued(id: str, now: datetime) -> Job:  # noqa: A002
    """A job that waits for a worker."""
    counted = {"progress": {}, "metrics": {}, "attempt": 0, "fence": 0, "priority": 0}
    return Job(id=id, kind="train", task="sentiment", state="queued", request={}, created_at=now, **counted)


def test_the_doctor_sees_jobs_without_a_worker_a_clock_that_is_off_and_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, "migrate")
    database = Database(f"sqlite:///{tmp_path / 'cellgate.db'}")
    with database.write() as session:
        now = database.now(session)
        session.add(queued("job_1", now))
    monkeypatch.setattr(doctor, "MOST_SKEW", -1.0)
    monkeypatch.setattr(doctor, "LEAST_DISK", 2**80)
    ill = run(tmp_path, "doctor")
    assert [line.partition(":")[0] for line in ill.stderr.splitlines()] == ["disk", "clock", "workers"]
    assert "cellgate worker" in ill.stderr
    with database.write() as session:
        session.get_one(Job, "job_1").state = "running"
        session.get_one(Job, "job_1").lease_until = now + timedelta(seconds=30)
        session.add(queued("job_2", now))
    assert "workers" not in run(tmp_path, "doctor").stderr, "the only worker is busy"
    with database.write() as session:
        session.get_one(Job, "job_1").lease_until = None
        WorkerRepository(session).seen("w", ["cpu"], now)
    assert "workers" not in run(tmp_path, "doctor").stderr, "one worker waits"
    database.close()


def event(number: int, kind: str, **data: Any) -> str:
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"


PROGRESS = {"fraction": 0.5, "epoch": 1, "epochs": 2, "step": 3, "steps": 6, "eta_seconds": 1.0}
FIRST = [event(1, "state", state="queued"), ": still here\n\n", event(2, "progress", **PROGRESS)]
SECOND = [
    event(3, "log", level="warning", text="a [bold] word"),
    event(4, "metrics", values={"train_loss": 0.25, "lr": 1.0}),
    event(5, "state", state="succeeded"),
]


class Breaking(httpx.SyncByteStream):
    """Some events, and then the connection is gone."""

    def __init__(self, parts: list[str]) -> None:
        self.parts = parts

    def __iter__(self) -> Iterator[bytes]:
        yield from (part.encode() for part in self.parts)
        raise httpx.ReadError("gone")


def connected(handler: Any) -> Client:
    made = Client("http://service")
    made._http = httpx.Client(base_url="http://service", transport=httpx.MockTransport(handler))
    return made


def test_a_job_is_followed_by_its_events_over_a_connection_that_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.time, "sleep", lambda _: None)
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/jobs/job_1":
            return httpx.Response(200, json={"state": "succeeded"})
        asked.append(request.headers["last-event-id"])
        return httpx.Response(200, stream=Breaking(FIRST if len(asked) == 1 else SECOND))

    console = Console(record=True, width=200, force_terminal=True)
    assert client.follow(connected(answer), "job_1", console) == {"state": "succeeded"}
    assert asked == ["0", "2"]
    shown = console.export_text()
    assert "warning: a [bold] word" in shown
    assert "succeeded, epoch 1 of 2" in shown
    assert "train_loss 0.25" in shown


def test_a_stream_that_only_breaks_or_is_refused_ends_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.time, "sleep", lambda _: None)
    with pytest.raises(Problem, match="does not answer"):
        list(connected(lambda _: httpx.Response(200, stream=Breaking([]))).events("job_1"))
    with pytest.raises(Problem, match="404 no job"):
        list(connected(lambda _: httpx.Response(404, json={"detail": "no job 'job_1'"})).events("job_1"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give either items, or a file of them as --dataset"),
        (["fine", "--dataset", "x.jsonl"], "give either items, or a file of them as --dataset"),
        (["--dataset", "x.jsonl", "--model", "m"], "--dataset needs --model, and --out for the answers"),
    ],
)
def test_a_prediction_is_of_items_or_of_a_file(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    done = run(tmp_path, "predict", "sentiment", *arguments)
    assert (done.exit_code, done.stderr.strip()) == (1, sentence)


def test_a_service_loads_nothing_that_only_terminals_need() -> None:
    script = "import sys, app.cli; print({'rich', 'pygments', 'httpx', 'alembic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
