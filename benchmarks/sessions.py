"""What sessions cost: bytes of each, how much the API grows by 10,000 idle ones, and steps a second alone and in company.

    python benchmarks/sessions.py [sessions]      default 10,000

One version of each task that answers step by step, learnt from the task's sample in one epoch; loopback only.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
from pydantic import TypeAdapter

sys.path.insert(0, str(Path(__file__).parent.parent))

from models import artifact, catalog, predictor
from models.stream import Memory, Sent, Stepper
from tests.service import ROOT, Service, running

CONFIGS: dict[str, dict[str, Any]] = {
    "forecasting": {"hidden": 64},
    "anomaly": {"hidden": 64},
    "melody": {"hidden": 256},
    "sequences": {"hidden": 64, "bidirectional": False},
}
BEFORE = 200
"""Steps that each session has read: what grows with them at first has grown."""
TOGETHER = 64
SECONDS = 2.0
ROUNDS = 3


def learn(service: Service, task: str, folder: Path) -> Path:
    """The artifact of a version, unpacked; the service keeps its own."""
    sample = (ROOT / f"models/tasks/{task}/sample.jsonl").read_bytes()
    headers = {"Content-Type": "application/x-ndjson"}
    service.http.post("/v1/datasets", params={"task": task, "name": task}, content=sample, headers=headers)
    body = {"kind": "train", "task": task, "dataset": task, "model": task, "config": {"epochs": 1, **CONFIGS[task]}}
    job = service.ended(service.http.post("/v1/jobs", json=body).raise_for_status().json()["id"], within=600)
    assert job["state"] == "succeeded", job["error"]
    (folder / task).mkdir()
    (folder / f"{task}.zip").write_bytes(service.http.get(f"/v1/models/{task}/versions/1/artifact").content)
    artifact.unpack(folder / f"{task}.zip", folder / task)
    return folder / task


def steps(service: Service, task: str) -> list[Any]:
    """So many steps of the task's own examples as a session has read."""
    examples = service.http.get(f"/v1/tasks/{task}").json()["stream"]["examples"]
    if task == "sequences":
        examples = service.http.get("/v1/tasks/sequences").json()["examples"][0]["values"]
    return (examples * BEFORE)[:BEFORE]


def grown(service: Service, task: str, count: int) -> tuple[float, float]:
    """Bytes a session by the service's own reckoning, and by how much its resident memory grew for each."""
    process, http = psutil.Process(service.process.pid), service.http

    def held() -> float:
        text = http.get("/metrics").text
        return float(next(line for line in text.splitlines() if line.startswith("cellgate_session_bytes ")).split()[1])

    first = begun(http, task)
    given = steps(service, task)
    http.post(f"/v1/sessions/{first}/steps", json={"inputs": given}).raise_for_status()
    for _ in range(50):  # what the first ones bring along is no session's cost
        http.post(f"/v1/sessions/{fork(http, first)}/steps", json={"inputs": given[:1]}).raise_for_status()
    before, reckoned = process.memory_info().rss, held()
    for _ in range(count):
        # A fork shares its bytes until its next step.
        http.post(f"/v1/sessions/{fork(http, first)}/steps", json={"inputs": given[:1]}).raise_for_status()
    return (held() - reckoned) / count, (process.memory_info().rss - before) / count


def begun(http: httpx.Client, task: str) -> str:
    first: str = http.post("/v1/sessions", json={"model": task}).raise_for_status().json()["id"]
    return first


def fork(http: httpx.Client, first: str) -> str:
    forked: str = http.post(f"/v1/sessions/{first}/fork").raise_for_status().json()["id"]
    return forked


def paced(folder: Path, task: str, given: list[Any]) -> tuple[float, float]:
    """Steps a second, sessions one after the other and so many in one batch; of one thread, without HTTP."""
    card = catalog.card(task).stream
    stepper = predictor.load(folder).stepper()
    assert card is not None
    assert isinstance(stepper, Stepper)
    parsed = [TypeAdapter(card.step).validate_python(step) for step in given]
    params, item = card.params(), card.item()

    def ask(memories: list[Memory], part: list[Any]) -> list[Memory]:
        sent = [Sent(steps=part, memory=memory, item=item, params=params) for memory in memories]
        return [memory for _, memory in stepper.answer([stepper.prepare(each) for each in sent], params)]

    [memory] = ask([{}], parsed)
    alone = pace(lambda: [ask([memory], parsed[:1]) for _ in range(TOGETHER)])
    batched = pace(lambda: [ask([memory] * TOGETHER, parsed[:1])])
    return alone, batched


def pace(work: Callable[[], object]) -> float:
    """Steps a second, median of some rounds."""
    rounds = []
    for _ in range(ROUNDS):
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < SECONDS / ROUNDS:
            work()
            done += TOGETHER
        rounds.append(done / (time.perf_counter() - began))
    return statistics.median(rounds)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    roomy = {"CELLGATE_MAX_SESSIONS": str(count + 100), "CELLGATE_SESSION_BYTES": str(2**33)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running(folder / "home", **roomy) as service:
            learnt = {task: learn(service, task, folder) for task in CONFIGS}
        print(
            f"| task | bytes a session | growth of the API a session, {count} idle | steps/s alone | {TOGETHER} together |"
        )
        print("|---|---|---|---|---|")
        for task, version in learnt.items():
            with running(folder / "home", CELLGATE_WORKERS="0", CELLGATE_LOG_LEVEL="error", **roomy) as service:
                reckoned, growth = grown(service, task, count)
                given = steps(service, task)
            alone, batched = paced(version, task, given)
            shown = f"{alone:,.0f} | {batched:,.0f} (x {batched / alone:.1f})"
            print(f"| {task} | {reckoned:,.0f} | {growth:,.0f} (x {growth / reckoned:.2f}) | {shown} |", flush=True)


if __name__ == "__main__":
    main()
