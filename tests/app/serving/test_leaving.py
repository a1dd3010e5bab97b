"""A caller who hangs up costs no forward pass."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import orjson

from app.factory import create_app
from app.serving.pace import GUESS
from tests.app import served


def test_a_caller_who_hangs_up_is_dropped_from_the_queue(tmp_path: Path, archives: dict[str, Path]) -> None:
    made = served.services(tmp_path / "home", streams=1)
    copy = tmp_path / "copy.zip"
    copy.write_bytes(archives["sentiment"].read_bytes())
    made.registry.import_(copy, model="reviews", promote="never", by="test")
    app = create_app(made)

    async def main() -> None:
        async with app.router.lifespan_context(app):
            loaded = await made.loaded.load("reviews")
            gate, answer = threading.Event(), loaded.predictor.answer
            loaded.predictor.answer = lambda *asked: (gate.wait(10), answer(*asked))[1]  # the only stream is busy
            loaded.paced(GUESS)  # and nothing is answered beside it
            running = asyncio.create_task(_post(app, asyncio.Event()))
            await asyncio.sleep(0.1)
            hung_up = asyncio.Event()
            waiting = asyncio.create_task(_post(app, hung_up))
            await asyncio.sleep(0.1)
            assert loaded.batcher.waiting == 1
            hung_up.set()
            assert await asyncio.wait_for(waiting, 5) == 499
            gate.set()
            assert await asyncio.wait_for(running, 5) == 200
            await loaded.batcher.drain()
            assert loaded.batcher.stats.batches == 1
            assert not loaded.used

    asyncio.run(main())


async def _post(app: Any, hung_up: asyncio.Event) -> int:
    """The status that a server would see for one request; `hung_up` ends the connection."""
    body = orjson.dumps({"inputs": ["good"], "model": "reviews"})
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/sentiment",
        "raw_path": b"/v1/sentiment",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    return statuses[0]
