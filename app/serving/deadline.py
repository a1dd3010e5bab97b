"""What a deadline means to whoever waits. Knows time alone; a deadline is a moment on `time.monotonic`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

from app.errors import Late

T = TypeVar("T")


async def by(deadline: float, work: Awaitable[T]) -> T:
    """What comes of some work, which is cancelled when the deadline passes. Raises `Late`."""
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            return await work
    except TimeoutError:
        raise late() from None


def late() -> Late:
    """The deadline of a request passed."""
    return Late("the deadline passed before the answer was there", retry_after=1.0)
