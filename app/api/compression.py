"""Large JSON answers as gzip, for callers who take it. Knows bytes and headers, no route.

Small ones cost more time than they save; files are compressed as they lie, and streams are never held up.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterable

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send

LARGE = 32 * 1024
"""Bytes from which an answer is compressed."""
LEVEL = 1
"""Numbers as text shrink by two thirds at the fastest level, and hardly more at others."""


def takes_gzip(codings: Iterable[bytes]) -> bool:
    """Whether a caller's `Accept-Encoding` headers name gzip."""
    named = b",".join(codings).decode("latin-1").lower()
    return any(
        coding.strip() == "gzip" and weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
        for coding, _, weight in (part.partition(";") for part in named.split(","))
    )


class Shrinking:
    """A `send` that holds the head of a large answer back until its body is there, and sends both smaller."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._head: Message | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _large(MutableHeaders(raw=message["headers"])):
            self._head = message
            return
        if self._head is not None:
            head, self._head = self._head, None
            body = message.get("body", b"")
            if not message.get("more_body", False):
                body = await asyncio.to_thread(gzip.compress, body, LEVEL, mtime=0)
                headers = MutableHeaders(raw=head["headers"])
                headers["Content-Encoding"] = "gzip"
                headers["Content-Length"] = str(len(body))
                headers.add_vary_header("Accept-Encoding")
            await self._send(head)
            message = {**message, "body": body}
        await self._send(message)


def _large(headers: MutableHeaders) -> bool:
    length, kind = headers.get("content-length", ""), headers.get("content-type", "")
    plain = "content-encoding" not in headers and "etag" not in headers
    return plain and length.isdecimal() and int(length) >= LARGE and "json" in kind.partition(";")[0]
