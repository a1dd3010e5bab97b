"""What it costs until one large item is an array: nested lists, a .npy file in JSON, bytes after the JSON.

`python benchmarks/arrays.py [--steps 20000] [--rounds 9]`. A clip of 64 numbers a step and a series as long, 32 and 64
bits, are read as the routes read them: the body to the item, no HTTP, no network. Prints the median time and the memory
at its peak beside the body, in arrays: 1.00 is one copy.
"""

from __future__ import annotations

import argparse
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import orjson
from pydantic import BaseModel, create_model

from app.api.protocols.oip.items import items
from app.api.protocols.oip.request import read
from models import catalog
from models.arrays import npy

WIDTH = 64


def routes(task: str) -> type[BaseModel]:
    """A request's shape as at the task's `/v1` route."""
    made: type[BaseModel] = create_model("Request", inputs=(list[catalog.card(task).item], ...))  # type: ignore[name-defined]
    return made


def ways(task: str, field: str, array: np.ndarray) -> dict[str, Callable[[], Any]]:
    """The ways to send one item that holds an array."""
    shape = routes(task)
    listed = orjson.dumps({"inputs": [{field: array.tolist()}]})
    filed = orjson.dumps({"inputs": [{field: npy(array)}]})
    kind = "FP32" if array.dtype == np.float32 else "FP64"
    tensor = {
        "name": field,
        "datatype": kind,
        "shape": [1, *array.shape],
        "parameters": {"binary_data_size": array.nbytes},
    }
    head = orjson.dumps({"inputs": [tensor]})
    body, end = head + array.tobytes(), str(len(head))
    return {
        "lists": lambda: shape.model_validate_json(listed),
        "npy": lambda: shape.model_validate_json(filed),
        "bytes after the JSON": lambda: items(task, read(body, end)[1], most=1),
    }


def seconds(call: Callable[[], Any], rounds: int) -> float:
    """The median time of a call."""
    spent = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        spent.append(time.perf_counter() - began)
    return median(spent)


def peak(call: Callable[[], Any]) -> int:
    """Bytes that a call takes at most."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    clip = np.random.default_rng(0).normal(size=(asked.steps, WIDTH)).astype(np.float32)
    series = clip.reshape(-1)[:1_000_000].astype(np.float64)
    print(f"{'item':24} {'sent as':22} {'ms':>9} {'MB/s':>9} {'arrays at the peak':>19}")
    for task, field, array in (("actions", "frames", clip), ("forecasting", "values", series)):
        for name, call in ways(task, field, array).items():
            call()
            spent = seconds(call, asked.rounds)
            speed = array.nbytes / spent / 1e6
            size = f"{task}, {array.nbytes / 1e6:.1f} MB"
            print(f"{size:24} {name:22} {spent * 1000:9.2f} {speed:9.0f} {peak(call) / array.nbytes:19.2f}")


if __name__ == "__main__":
    main()
