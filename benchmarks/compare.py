"""LSTM against GRU on JapaneseVowels: one compare job of 5 seeds over HTTP, its table, and how long it took.

    python benchmarks/compare.py DATA [--cells lstm gru] [--seeds 5] [--workers 2]

DATA holds `sequences/JapaneseVowels_TRAIN.ts` and `_TEST.ts` (the archive's own split); a sixth of the training
rows, drawn with seed 0, is for validation. Configuration: the task's defaults. Runs a service of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.ts_files import read
from tests.service import running

BAR = 300.0


def rows(data: Path) -> list[dict]:
    made = []
    shuffled = random.Random(0)  # noqa: S311  a split, no secret
    for part in ("TRAIN", "TEST"):
        for values, label in read(data / f"sequences/JapaneseVowels_{part}.ts"):
            split = "test" if part == "TEST" else "validation" if shuffled.random() < 1 / 6 else "train"
            made.append({"values": values.tolist(), "label": label, "split": split})
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cells", nargs="+", default=["lstm", "gru"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    lines = "".join(json.dumps(row) + "\n" for row in rows(asked.data)).encode()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), CELLGATE_WORKERS=str(asked.workers)) as service:
        query, headers = {"task": "sequences", "name": "vowels"}, {"Content-Type": "application/x-ndjson"}
        service.http.post("/v1/datasets", params=query, content=lines, headers=headers).raise_for_status()
        body = {"kind": "compare", "task": "sequences", "dataset": "vowels", "model": "vowels"}
        began = time.perf_counter()
        posted = service.http.post("/v1/jobs", json={**body, "cells": asked.cells, "seeds": asked.seeds})
        job = service.ended(posted.raise_for_status().json()["id"], within=3600)
        took = time.perf_counter() - began
    if job["state"] != "succeeded":
        raise SystemExit(f"the job {job['state']}: {job['error']}")
    table(job["result"])
    print(f"\n{len(asked.cells) * asked.seeds} trainings, {asked.workers} workers: {took:.0f} s (bar: {BAR:.0f} s)")


def table(result: dict) -> None:
    print(f"| cell | {result['part']} {result['metric']}, mean | sd | each seed | loss | parameters | seconds a run |")
    print("|---|---|---|---|---|---|---|")
    for row in result["cells"]:
        each = " ".join(f"{run['score']:.4f}" if run["score"] is not None else "failed" for run in row["runs"])
        spread = "" if row["sd"] is None else f"{row['sd']:.4f}"
        print(
            f"| {row['cell']} | {row['mean']:.4f} | {spread} | {each} | {row['loss']:.3f} | {row['parameters']} "
            f"| {row['seconds']:.1f} |"
        )
    print()
    for said in (*(test["says"] for test in result["tests"]), *result["notes"]):
        print(f"- {said}")
    best = result["best"]
    print(f"- best by validation: {best['cell']}, seed {best['seed']}; registered as version {result['version']}")


if __name__ == "__main__":
    main()
