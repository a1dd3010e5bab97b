"""`serve --processes`: several API processes behind one port, which share the database and the blobs alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from tests.service import ROOT, Service, running

SERIES = {"values": [float(step % 12) for step in range(60)]}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, archives: dict[str, Path]) -> Iterator[Service]:
    """A service of two processes with two versions of `sales`."""
    home = tmp_path_factory.mktemp("pair")
    with running(home, CELLGATE_PROCESSES="2", CELLGATE_WORKERS="0") as service:
        for name, promote in (("forecasting", "always"), ("forecasting2", "never")):
            made = service.http.post(
                f"/v1/models/import?name=sales&promote={promote}", content=archives[name].read_bytes()
            )
            made.raise_for_status()
        yield service


def answering(client: httpx.Client) -> str:
    """Which process a connection leads to: sessions say so."""
    made = client.post("/v1/sessions", json={"model": "sales"})
    made.raise_for_status()
    return str(made.json()["id"]).split("_")[1]


def connected(service: Service, stack: ExitStack) -> dict[str, httpx.Client]:
    """A connection to each process."""
    found: dict[str, httpx.Client] = {}
    ends = time.monotonic() + 20
    while len(found) < 2:
        assert time.monotonic() < ends, "the kernel spreads connections over both"
        client = stack.enter_context(httpx.Client(base_url=service.url, timeout=30))
        found.setdefault(answering(client), client)
    return found


def version(client: httpx.Client) -> int:
    answer = client.post("/v1/forecasting", json={"inputs": [SERIES], "model": "sales"})
    answer.raise_for_status()
    return int(answer.json()["model"]["version"])


def test_every_process_sees_an_alias_move_within_a_second(pair: Service) -> None:
    with ExitStack() as stack:
        clients = list(connected(pair, stack).values())
        for wanted in (2, 1):
            assert [version(client) for client in clients] == [3 - wanted] * 2
            moved = clients[0].put("/v1/models/sales/aliases/production", json={"version": wanted})
            moved.raise_for_status()
            began = time.monotonic()
            assert version(clients[0]) == wanted, "the process that moved it knows at once"
            while version(clients[1]) != wanted:
                time.sleep(0.02)
            assert time.monotonic() - began < 1.0


def test_a_session_is_known_to_the_process_that_began_it(pair: Service) -> None:
    with ExitStack() as stack:
        one, other = connected(pair, stack).values()
        session = one.post("/v1/sessions", json={"model": "sales"}).json()["id"]
        assert one.get(f"/v1/sessions/{session}").status_code == 200
        elsewhere = other.get(f"/v1/sessions/{session}")
        assert elsewhere.status_code == 410
        assert "another process" in elsewhere.json()["detail"]


def test_a_process_that_dies_is_started_anew_and_the_others_answer(pair: Service) -> None:
    def children() -> set[int]:
        return {child.pid for child in psutil.Process(pair.process.pid).children()}

    before = children()
    assert len(before) == 2
    os.kill(min(before), signal.SIGKILL)
    ends = time.monotonic() + 20
    while len(children() - before) < 1:
        assert time.monotonic() < ends
        time.sleep(0.05)
    with ExitStack() as stack:
        assert len(connected(pair, stack)) == 2


def test_a_port_that_is_taken_is_a_sentence(pair: Service, tmp_path: Path) -> None:
    port = pair.url.rsplit(":", 1)[1]
    environment = {**os.environ, "CELLGATE_HOME": str(tmp_path), "CELLGATE_PORT": port, "CELLGATE_PROCESSES": "2"}
    done = subprocess.run(  # noqa: PLW1510  its code is what is looked at
        [sys.executable, "-m", "app.cli", "serve"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr + done.stdout


def test_all_of_them_end_with_their_supervisor(pair: Service) -> None:
    """The last of this file: it ends the service."""
    processes = psutil.Process(pair.process.pid).children(recursive=True)
    assert pair.stop() < 10
    assert pair.process.returncode == 0
    _, alive = psutil.wait_procs(processes, timeout=5)
    assert not alive
