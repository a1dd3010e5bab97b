"""How long a submitted job waits for an idle worker: median of 20 from `POST /v1/jobs` to `running`. Loopback only."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.service import ROOT, running

RUNS = 20


def main() -> None:
    waits, served = [], []
    sample = (ROOT / "models/tasks/sentiment/sample.jsonl").read_bytes()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as service:
        query = {"task": "sentiment", "name": "opinions"}
        headers = {"Content-Type": "application/x-ndjson"}
        service.http.post("/v1/datasets", params=query, content=sample, headers=headers).raise_for_status()
        config = {"epochs": 1, "hidden": 8, "embedding": 8}
        body = {"kind": "train", "task": "sentiment", "dataset": "opinions", "model": "reviews", "config": config}
        for _ in range(RUNS):
            begun = time.perf_counter()
            job = service.http.post("/v1/jobs", json=body).raise_for_status().json()["id"]
            service.until(job, {"running", "succeeded"})
            served.append(time.perf_counter() - begun)
            at = {step["state"]: datetime.fromisoformat(step["at"]) for step in service.ended(job)["transitions"]}
            waits.append((at["running"] - at["queued"]).total_seconds())
    print("| from `POST /v1/jobs` to `running`, 20 jobs | median | worst | bar |\n|---|---|---|---|")
    print(f"| by the job's own times | {statistics.median(waits):.2f} s | {max(waits):.2f} s | 1 s |")
    print(f"| as a client that polls sees it | {statistics.median(served):.2f} s | {max(served):.2f} s | 1 s |")


if __name__ == "__main__":
    main()
