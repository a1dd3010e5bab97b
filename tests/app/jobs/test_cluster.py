"""Work on a Ray cluster: the same weights as in this process, after a kill as well; a team of two; a stop."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.errors import Invalid
from app.jobs import training
from app.jobs.cluster import RayExecutor, RayRunning, resources
from app.jobs.executors import Gone, Message, Order
from app.jobs.places import Places
from tests.app.served import order
from tests.ray_cluster import cluster

LAST = {"done", "stopped", "failed"}


@pytest.fixture(scope="module")
def executor() -> Iterator[RayExecutor]:
    with cluster(2) as given, pytest.MonkeyPatch.context() as patch:
        for name, value in given.items():
            patch.setenv(name, value)
        opened = RayExecutor(given["RAY_ADDRESS"])
        try:
            yield opened
        finally:
            opened.close()


def asked(folder: Path, *, epochs: int = 8) -> Order:
    return order("sentiment", folder, epochs=epochs, dropout=0.0)  # what is dropped depends on the number of processes


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> list[Message]:
    """What a training says in this process."""
    said: list[Message] = []
    training.run(asked(tmp_path_factory.mktemp("plain")), said.append, lambda: None)
    return said


def epochs(said: list[Message]) -> list[dict[str, Any]]:
    """What was said of each epoch."""
    return [data for kind, data in said if kind == "metrics"]


def until(running: RayRunning, *kinds: str) -> Message:
    """The first message of these kinds. Raises `Gone`."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for message in running.messages(0.2):
            if message[0] in kinds:
                return message
    raise AssertionError(f"none of {kinds} was said")


def weights(done: Message) -> str:
    kind, data = done
    assert kind == "done", done
    with zipfile.ZipFile(data["zip"]) as archive:
        return hashlib.sha256(archive.read("weights.safetensors")).hexdigest()


def test_a_killed_process_is_told_of_and_its_checkpoint_leads_to_the_same_weights(
    executor: RayExecutor, plain: list[Message], tmp_path: Path
) -> None:
    (offer,) = Places("auto", probe=executor).offers()
    assert (offer.device, offer.general) == ("cpu", True)
    first = executor.start(asked(tmp_path / "killed"))
    data = until(first, "checkpoint")[1]
    os.kill(first.pids()[0], signal.SIGKILL)
    with pytest.raises(Gone, match="on Ray"):
        until(first, *LAST)
    first.kill()
    again = replace(asked(tmp_path / "again"), checkpoint=Path(data["path"]))
    second = executor.start(again)
    assert until(second, "resumed") == ("resumed", {"epoch": data["epoch"], "step": data["step"]})
    done = until(second, *LAST)
    second.kill()
    assert Path(done[1]["zip"]).is_relative_to(tmp_path / "again")
    assert weights(done) == weights(plain[-1])


def test_a_team_learns_what_one_process_does_and_stops_when_it_is_asked_to(
    executor: RayExecutor, tmp_path: Path
) -> None:
    plain: list[Message] = []
    training.run(asked(tmp_path / "plain", epochs=500), plain.append, lambda: "one will do" if epochs(plain) else None)
    running = executor.start(replace(asked(tmp_path / "team", epochs=500), devices=("cpu", "cpu")))
    told = until(running, "metrics")[1]
    name = "validation_loss"
    assert told["values"][name] == pytest.approx(epochs(plain)[0]["values"][name], rel=1e-4)
    waiting = executor.start(asked(tmp_path / "waits"))
    waiting.stop("cancelling")
    assert until(waiting, *LAST)[0] == "stopped", "the cluster has no room for it, and it need not wait for any"
    running.stop("cancelling")
    assert until(running, *LAST)[0] == "stopped"
    for each in (waiting, running):
        each.kill()


def test_a_process_asks_for_what_the_job_does(tmp_path: Path) -> None:
    plain = asked(tmp_path)
    assert resources(replace(plain, memory=2**30)) == {"CPU": 1.0, "memory": 2.0**30}
    assert resources(replace(plain, devices=("cuda:3",), memory=2**30)) == {"CPU": 1.0, "GPU": 1.0}


def test_without_a_cluster_no_worker_starts() -> None:
    with pytest.raises(Invalid, match="needs RAY_ADDRESS"):
        RayExecutor(None)


def test_a_cluster_that_is_not_there_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace())  # it is not asked, and stays as it is for other tests
    with pytest.raises(Invalid, match=r"cannot be used \(ConnectionRefusedError\)"):
        RayExecutor("127.0.0.1:1")
