"""Versions that share too little memory, as callers see it: who waits, who stays, who is told that it is too much."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.factory import Services
from app.serving import placing
from app.serving.calibrated import fingerprint
from app.serving.placing import Copy, Replicas
from app.serving.room import SHARE, Place
from app.serving.weighed import weighed
from models import devices
from models.artifact import ArtifactError
from models.devices import Device, FakeProbe
from models.footprint import Footprint
from tests.app import served

MIB = 2**20
SIZE = 7 * MIB
"""What each version is said to take."""


def ask(client: TestClient, model: str, text: str = "I loved this movie!", **how: Any) -> Any:
    return client.post("/v1/sentiment", json={"inputs": [text], "model": model}, **how)


def budget(versions: float) -> int:
    return int(versions * SIZE * SHARE / (SHARE - 1)) + SHARE


def imported(client: TestClient, made: Services, archive: Path, name: str, *, step: float = 0.0) -> None:
    """A version of which it is known here what it takes."""
    answer = client.post(f"/v1/models/import?name={name}", content=archive.read_bytes())
    assert answer.status_code == 201, answer.text
    folder = made.loaded.unpacked.get(answer.json()["digest"])
    known = json.dumps(asdict(Footprint(rest=SIZE, step=step)))
    (folder / f"memory-auto-{fingerprint('cpu', made.settings.threads)}.json").write_text(known)


@pytest.mark.parametrize(("versions", "status"), [(1.5, 200), (0.5, 503)])
def test_versions_keep_within_the_budget(
    tmp_path: Path, archives: dict[str, Path], versions: float, status: int
) -> None:
    made = served.services(tmp_path / "home", device_budget=budget(versions))
    with served.client(made) as client:
        for name in ("reviews", "others"):
            imported(client, made, archives["sentiment"], name)
        for name in ("reviews", "others", "reviews"):
            answer = ask(client, name)
            assert answer.status_code == status, answer.text
            assert status == 200 or "7340032 bytes are needed" in answer.json()["detail"]
            assert "retry-after" in answer.headers or status == 200
            assert len(made.loaded.held()) <= 1


def test_more_versions_than_fit_answer_every_caller(tmp_path: Path, archives: dict[str, Path]) -> None:
    made = served.services(tmp_path / "home", device_budget=budget(2))
    names = [f"m{index}" for index in range(5)]
    with served.client(made) as client, ThreadPoolExecutor(6) as pool:
        for index, name in enumerate(names):
            imported(client, made, archives["sentiment2" if index % 2 else "sentiment"], name)
        dice = random.Random(0)  # noqa: S311
        asked = [dice.choice(names) for _ in range(60)]
        most: list[int] = []

        def call(name: str) -> Any:
            answer = ask(client, name)
            most.append(sum(made.loaded.placing.room.held().values()))
            return answer

        answers = list(pool.map(call, asked))
        assert Counter(answer.status_code for answer in answers) == {200: 60}, answers
        scores = {(name, answer.json()["outputs"][0]["score"]) for name, answer in zip(asked, answers, strict=True)}
        assert len(scores) == len(set(asked)), "a version answers the same whenever it was loaded"
        assert 0 < max(most) <= 2 * SIZE


def test_a_pinned_version_stays_until_it_is_unloaded(
    tmp_path: Path, archives: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "WAIT", 0.2)
    made = served.services(tmp_path / "home", device_budget=budget(1))
    with served.client(made) as client:
        for name in ("reviews", "others"):
            imported(client, made, archives["sentiment"], name)
        pinned = client.post("/v1/models/reviews:1/load", json={"pinned": True}).json()
        assert pinned["pinned"]
        assert pinned["memory"] == SIZE
        refused = ask(client, "others")
        assert refused.status_code == 503
        assert "version 1 of 'others' cannot be loaded now: 7340032 bytes are needed" in refused.json()["detail"]
        assert client.get("/v1/models/others:1/stats").json()["failure"].startswith("7340032 bytes are needed")
        assert ask(client, "reviews").status_code == 200
        assert client.post("/v1/models/reviews:1/unload").status_code == 204
        assert ask(client, "others").status_code == 200
        assert client.post("/v1/models/others:1/load", json={"pin": True}).status_code == 422


def test_a_caller_does_not_wait_for_a_version_longer_than_its_deadline(
    tmp_path: Path, archives: dict[str, Path]
) -> None:
    made = served.services(tmp_path / "home", device_budget=budget(1))
    with served.client(made) as client:
        for name in ("reviews", "others"):
            imported(client, made, archives["sentiment"], name)
        assert client.post("/v1/models/reviews:1/load", json={"pinned": True}).status_code == 200
        began = time.monotonic()
        late = ask(client, "others", headers={"X-Deadline-Ms": "200"})
        assert late.status_code == 504, late.text
        assert time.monotonic() - began < 5
        assert client.post("/v1/models/reviews:1/unload").status_code == 204
        assert ask(client, "others").status_code == 200, "it was loaded meanwhile, or is now"


def test_nor_does_a_session(tmp_path: Path, archives: dict[str, Path]) -> None:
    made = served.services(tmp_path / "home", device_budget=budget(1))
    soon = {"X-Deadline-Ms": "200"}
    with served.client(made) as client:
        imported(client, made, archives["forecasting"], "sales")
        begun = client.post("/v1/sessions", json={"model": "sales"}).json()
        imported(client, made, archives["sentiment"], "reviews")
        assert client.post("/v1/models/sales:1/unload").status_code == 204
        assert client.post("/v1/models/reviews:1/load", json={"pinned": True}).status_code == 200
        asked = {f"/v1/sessions/{begun['id']}/steps": {"inputs": [1]}, "/v1/sessions": {"model": "sales"}}
        for path, body in asked.items():
            began = time.monotonic()
            late = client.post(path, json=body, headers=soon)
            assert (late.status_code, late.json()["type"]) == (504, "/problems/late"), late.text
            assert "Retry-After" in late.headers
            assert time.monotonic() - began < 5
        assert client.post("/v1/models/reviews:1/unload").status_code == 204
        answer = client.post(f"/v1/sessions/{begun['id']}/steps", json={"inputs": [1]})
        assert (answer.status_code, answer.json()["steps"]) == (200, 1), "what came too late does not count"


def test_an_item_that_no_memory_holds_is_refused(tmp_path: Path, archives: dict[str, Path]) -> None:
    made = served.services(tmp_path / "home", device_budget=budget(2))
    with served.client(made) as client:
        imported(client, made, archives["sentiment"], "reviews", step=MIB)
        assert ask(client, "reviews", "good " * 8).status_code == 200
        refused = ask(client, "reviews", "good " * 12)
        assert refused.status_code == 413, refused.text
        assert "input 0 has 12 steps; the memory of this service holds 9 of this model" in refused.json()["detail"]


def test_copies_answer_as_one(tmp_path: Path, archives: dict[str, Path]) -> None:
    """The second is on a device that is made up; torch takes it for the CPU."""
    made = served.services(tmp_path / "home")
    with served.client(made) as client:
        imported(client, made, archives["sentiment"], "reviews")
        one = ask(client, "reviews").json()["outputs"][0]
        refused = client.post("/v1/models/reviews:1/load", json={"replicas": 2})
        assert refused.status_code == 409
        assert refused.json()["detail"] == "2 replicas need a device each; this service may use 1"
        assert client.post("/v1/models/reviews:1/unload").status_code == 204
        assert ask(client, "reviews").status_code == 200, "what was refused is not asked for again"
        (cpu,) = (device for device in devices.inventory() if device.kind == "cpu")
        other = Device(**{**asdict(cpu), "id": "cpu:1"})
        made.loaded.placing.room.probe = FakeProbe([cpu, other])
        both = client.post("/v1/models/reviews:1/load", json={"replicas": 2, "pinned": True}).json()
        assert sorted(both["devices"]) == ["cpu", "cpu:1"]
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: ask(client, "reviews").json()["outputs"][0], range(24)))
        assert all(abs(answer["score"] - one["score"]) < 1e-5 for answer in answers)
        assert client.post("/v1/models/reviews:1/load").json()["devices"] == both["devices"]


def test_a_batch_goes_to_the_copy_that_has_least_to_do() -> None:
    gate, seen = threading.Event(), []

    class Slow:
        def __init__(self, name: str) -> None:
            self.name = name

        def answer(self, examples: Sequence[Any], params: Any) -> list[Any]:
            seen.append(self.name)
            if examples[0] == "wait":
                assert gate.wait(10)
            return [self.name]

    cpu = Place(device=devices.inventory()[-1], rest=0)
    both = Replicas([Copy(predictor=Slow(name), place=cpu) for name in "ab"])  # type: ignore[arg-type]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(both.answer, ["wait"], None)
        while not seen:
            pass
        assert [both.answer(["go"], None) for _ in range(3)] == [["b"]] * 3
        gate.set()
        assert waiting.result() == ["a"]
    assert both.answer(["go"], None) == ["a"]


def test_what_a_version_takes_is_measured_once(tmp_path: Path, archives: dict[str, Path]) -> None:
    made = served.services(tmp_path / "home")
    with served.client(made) as client:
        answer = client.post("/v1/models/import?name=reviews", content=archives["sentiment"].read_bytes()).json()
        folder = made.loaded.unpacked.get(answer["digest"])
        found = weighed(folder, device="cpu", threads=1)
        assert 0 <= found.rest < 64 * MIB
        assert found.step < MIB
        (path,) = folder.glob("memory-*.json")
        path.write_text(json.dumps({**asdict(found), "rest": 12_345}))
        assert weighed(folder, device="cpu", threads=1).rest == 12_345
        path.write_text("damaged")
        assert weighed(folder, device="cpu", threads=1).rest != 12_345


def test_a_version_that_this_release_cannot_read_says_why(
    tmp_path: Path, archives: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = served.services(tmp_path / "home")

    def unread(folder: Path) -> None:
        raise ArtifactError("state or config does not fit the task 'sentiment': 'words': unknown")

    with served.client(made) as client:
        imported(client, made, archives["sentiment"], "reviews")
        monkeypatch.setattr(placing.artifact, "read", unread)
        refused = ask(client, "reviews")
        assert refused.status_code == 503
        assert "cannot be loaded now: state or config does not fit" in refused.json()["detail"]
        assert "does not fit" in client.get("/v1/models/reviews/stats").json()["failure"]
