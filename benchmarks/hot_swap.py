"""Whether any request fails, or gets another version's answer, while versions change under load. Knows HTTP alone.

`python benchmarks/hot_swap.py [--swaps 100] [--callers 16]`. An alias moves back and forth between two versions while
callers ask without pause; each answer is held against the one that its version gives when it is alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import serving, versions

CLOSE = 1e-5


@dataclass
class Seen:
    """What the callers saw together."""

    expected: dict[int, list[Any]]
    answers: dict[int, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, answer: httpx.Response, index: int) -> None:
        with self.lock:
            if answer.status_code != 200:
                self.faults.append(answer.text[:200])
                return
            body = answer.json()
            version = body["model"]["version"]
            self.answers[version] = self.answers.get(version, 0) + 1
            if serving.distance(self.expected[version][index], body["outputs"][0]) > CLOSE:
                self.faults.append(f"not what version {version} says: {body['outputs'][0]}")


def call(url: str, headers: dict[str, str], items: list[Any], seen: Seen, over: threading.Event) -> None:
    """Ask without pause until it is over."""
    with httpx.Client(headers=headers, timeout=30) as http:
        index = 0
        while not over.is_set():
            index = (index + 1) % len(items)
            seen.add(http.post(url, json={"inputs": [items[index]]}), index)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--callers", type=int, default=16)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cellgate-swap-") as scratch:
        folder = Path(scratch)
        one, two = (versions.classifier(folder / str(seed), hidden=64, seed=seed) for seed in (0, 1))
        key = serving.home_with(folder / "home", [one, two])  # two versions of one name
        headers, items = {"Authorization": f"Bearer {key}"}, list(one.items[:32])
        with serving.ours(folder / "home", key, one) as up:
            alias = up.url.replace("/v1/sentiment", "/v1/models/sentiment/aliases/production")
            with httpx.Client(headers=headers, timeout=30) as http:
                expected = {
                    version: [
                        http.post(up.url, json={"inputs": [item], "model": f"sentiment:{version}"}).json()["outputs"][0]
                        for item in items
                    ]
                    for version in (1, 2)
                }
                seen, over = Seen(expected), threading.Event()
                given = (up.url, headers, items, seen, over)
                callers = [threading.Thread(target=call, args=given) for _ in range(chosen.callers)]
                for caller in callers:
                    caller.start()
                taken = []
                for swap in range(chosen.swaps):
                    began = time.perf_counter()
                    http.put(alias, json={"version": 1 + swap % 2}).raise_for_status()
                    taken.append(time.perf_counter() - began)
                    time.sleep(0.05)
                over.set()
                for caller in callers:
                    caller.join()
        print(
            f"{chosen.swaps} swaps under {chosen.callers} callers: {sum(seen.answers.values())} answers "
            f"({seen.answers}), {len(seen.faults)} failed or mixed; a swap took {median(taken) * 1000:.0f} ms"
        )
        for fault in seen.faults[:3]:
            print(fault)


if __name__ == "__main__":
    main()
