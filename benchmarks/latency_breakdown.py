"""Where the time of one predict request goes, in microseconds. Knows the functions that it puts clocks around.

`python benchmarks/latency_breakdown.py [--requests 2000]`. The application answers in this process, one request at a
time, keys and metrics on; clocks around its parts add half a microsecond each. `the rest` is everything else inside
the application: middleware, log, metrics, keys, the event loop. What the HTTP server and sockets add is the difference
to a request over HTTP, from `benchmarks/load.py` at concurrency 1, without clocks.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from app import log, main
from app.api import lean, predict
from app.factory import create_app
from app.serving import predictions
from app.serving.batcher import Batcher
from app.settings import Settings
from benchmarks import serving, versions
from benchmarks.versions import Made
from models.predictor import Predictor
from models.runtimes.onnx_run import OnnxRun

WARM = 200


class Clocks:
    """Seconds of one request by part; a part that lies in another is counted in both."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)

    def around(self, owner: Any, function: str, part: str) -> None:
        """Put a clock around a function, asynchronous or not."""
        plain: Callable[..., Any] = getattr(owner, function)

        def timed(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return plain(*given, **named)
            finally:
                self.spent[part] += time.perf_counter() - began

        async def awaited(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return await plain(*given, **named)
            finally:
                self.spent[part] += time.perf_counter() - began

        setattr(owner, function, awaited if asyncio.iscoroutinefunction(plain) else timed)


def parts(spent: dict[str, float], whole: float) -> dict[str, float]:
    """Parts that do not overlap."""
    return {
        "parse and validate": spent["parse"],
        "prepare the example": spent["prepare"],
        "queue and hand over": spent["submit"] - spent["answer"],
        "collate and decode": spent["answer"] - spent["forward"],
        "forward pass": spent["forward"],
        "encode": spent["encode"],
        "the rest": whole - spent["parse"] - spent["prepare"] - spent["submit"] - spent["encode"],
    }


async def inside(app: Any, body: bytes, key: str, task: str) -> None:
    """One request to the application itself."""
    sent = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        return sent.pop() if sent else await asyncio.Future()

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and message["status"] != 200:
            raise SystemExit(f"status {message['status']}")

    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"authorization", f"Bearer {key}".encode()),
    ]
    path = f"/v1/{task}"
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "headers": headers,
    }
    scope |= {"raw_path": path.encode(), "query_string": b"", "root_path": "", "asgi": {"version": "3.0"}}
    await app({**scope, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80)}, receive, send)


async def measured(home: Path, key: str, made: Made, requests: int) -> tuple[dict[str, list[float]], list[float]]:
    """Microseconds of each part and of the whole, request by request."""
    settings = Settings(home=home, log_format="json")
    log.configure(settings)
    services = main.build(settings)
    app = create_app(services)
    clocks = Clocks()
    for owner, function, part in (
        (lean, "_body", "parse"),
        (predictions, "_prepared", "prepare"),
        (Batcher, "submit", "submit"),
        (Predictor, "answer", "answer"),
        (OnnxRun, "__call__", "forward"),
        (predict, "_encoded", "encode"),
    ):
        clocks.around(owner, function, part)
    found: dict[str, list[float]] = defaultdict(list)
    wholes: list[float] = []
    bodies = [body.encode() for body in serving.bodies(made.items)]
    async with app.router.lifespan_context(app):
        await inside(app, bodies[0], key, made.task)
        while not (await services.loaded.load(made.task)).batcher.pace.measured:
            await asyncio.sleep(0.05)
        for turn in range(WARM + requests):
            clocks.spent.clear()
            began = time.perf_counter()
            await inside(app, bodies[turn % len(bodies)], key, made.task)
            whole = time.perf_counter() - began
            if turn >= WARM:
                wholes.append(whole * 1e6)
                for name, seconds in parts(clocks.spent, whole).items():
                    found[name].append(seconds * 1e6)
    return found, wholes


def over_http(home: Path, key: str, made: Made) -> float:
    """The median of a request over HTTP, microseconds."""
    with serving.ours(home, key, made) as up:
        time.sleep(2)  # until the version is measured
        return serving.drive(up, serving.bodies(made.items), concurrency=1, seconds=2.0).p50 * 1e6


def main_() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=2000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cellgate-breakdown-") as scratch:
        folder = Path(scratch)
        made = [versions.classifier(folder / "classifier"), versions.forecaster(folder / "forecaster")]
        key = serving.home_with(folder / "home", made)
        for each in made:
            http = over_http(folder / "home", key, each)
            with (folder / "log").open("w") as file, redirect_stderr(file):  # the log's lines are written, but not here
                found, wholes = asyncio.run(measured(folder / "home", key, each, chosen.requests))
            print(
                f"\n{each.task}: median of {len(wholes)} requests, microseconds\n\n| part | µs | share |\n|---|---|---|"
            )
            whole = median(wholes)
            for name, values in found.items():
                print(f"| {name} | {median(values):.0f} | {median(values) / whole:.0%} |")
            print(f"| inside the application | {whole:.0f} | |\n| over HTTP | {http:.0f} | |")


if __name__ == "__main__":
    main_()
