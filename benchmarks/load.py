"""A client that costs little: raw sockets, requests made beforehand, latencies kept. Knows HTTP/1.1, no task.

Run as a process of its own: `python benchmarks/load.py ORDER.json`; prints what it saw as JSON. A closed loop
(`concurrency`) sends the next request when the answer is there; an open one (`rate`) at random moments that no
answer delays, and counts from the moment a request was due.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvloop


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be sent, where, and for how long."""

    url: str
    bodies: list[str]
    concurrency: int
    seconds: float
    warm: float = 0.5
    key: str = ""
    rate: float | None = None


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What came back: seconds in `p50` and `p99`."""

    requests: int
    per_second: float
    errors: int
    first_error: str
    p50: float
    p99: float


class Caller(asyncio.Protocol):
    """One connection that is kept open; one request at a time."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.buffer = b""
        self.due = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.load.idle(self)

    def send(self, request: bytes, due: float) -> None:
        self.due = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end].lower()
        at = head.index(b"content-length:") + 15
        length = int(head[at : head.find(b"\r", at)] if head.find(b"\r", at) >= 0 else head[at:])
        if len(self.buffer) < end + 4 + length:
            return
        answer, self.buffer = self.buffer, b""
        self.load.answered(self, answer, answer[9:12] == b"200")

    def connection_lost(self, error: Exception | None) -> None:
        if not self.load.over:
            self.load.lost(error)


class Load:
    """All connections of one run."""

    def __init__(self, order: Order) -> None:
        self.order = order
        parts = urlsplit(order.url)
        key = f"Authorization: Bearer {order.key}\r\n" if order.key else ""
        self.address = parts.hostname, parts.port
        self.requests = [
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n{key}"
            f"Content-Length: {len(body.encode())}\r\n\r\n{body}".encode()
            for body in order.bodies
        ]
        self.latencies: list[float] = []
        self.errors, self.first_error, self.sent, self.over = 0, "", 0, False
        self.free: deque[Caller] = deque()
        self.waiting: deque[float] = deque()
        self.begins = self.ends = 0.0

    def idle(self, caller: Caller) -> None:
        if self.order.rate is None:
            self._send(caller, time.perf_counter())
        elif self.waiting:
            self._send(caller, self.waiting.popleft())
        else:
            self.free.append(caller)

    def answered(self, caller: Caller, answer: bytes, good: bool) -> None:
        now = time.perf_counter()
        if self.begins <= now < self.ends:
            self.latencies.append(now - caller.due)
            if not good:
                self._fault(answer[:300].decode(errors="replace"))
        if now < self.ends:
            self.idle(caller)

    def lost(self, error: Exception | None) -> None:
        self._fault(f"the connection was lost: {error}")

    def _fault(self, text: str) -> None:
        self.errors += 1
        self.first_error = self.first_error or text

    def _send(self, caller: Caller, due: float) -> None:
        self.sent += 1
        caller.send(self.requests[self.sent % len(self.requests)], due)

    async def run(self) -> Seen:
        loop = asyncio.get_running_loop()
        self.begins = time.perf_counter() + self.order.warm
        self.ends = self.begins + self.order.seconds
        callers = [
            await loop.create_connection(lambda: Caller(self), *self.address) for _ in range(self.order.concurrency)
        ]
        if self.order.rate is not None:
            await self._drip(self.order.rate)
        await asyncio.sleep(max(0.0, self.ends - time.perf_counter()))
        self.over = True
        for transport, _ in callers:
            transport.abort()
        found = sorted(self.latencies)
        return Seen(
            requests=len(found),
            per_second=(len(found) - self.errors) / self.order.seconds,
            errors=self.errors,
            first_error=self.first_error,
            p50=found[len(found) // 2] if found else float("nan"),
            p99=found[int(len(found) * 0.99)] if found else float("nan"),
        )

    async def _drip(self, rate: float) -> None:
        """Requests at the moments of a Poisson process."""
        draw, due = random.Random(0), time.perf_counter()  # noqa: S311
        while (due := due + draw.expovariate(rate)) < self.ends:
            pause = due - time.perf_counter()
            if pause > 0.0005:
                await asyncio.sleep(pause)
            if self.free:
                self._send(self.free.popleft(), due)
            else:
                self.waiting.append(due)


def main() -> None:
    order = Order(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    print(json.dumps(asdict(uvloop.run(Load(order).run()))))


if __name__ == "__main__":
    main()
