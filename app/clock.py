"""What time it is, and a time that tests set. Knows nothing else."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def monotonic(self) -> float:
        """Seconds that only grow; their zero means nothing."""
        ...

    def now(self) -> datetime:
        """The time of day, in UTC."""
        ...


class SystemClock:
    """The machine's."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)


class HandClock:
    """One that stands still until it is moved on."""

    def __init__(self, at: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._began, self._seconds = at, 0.0

    def monotonic(self) -> float:
        return self._seconds

    def now(self) -> datetime:
        return self._began + timedelta(seconds=self._seconds)

    def move(self, seconds: float) -> None:
        """Let so much time pass."""
        self._seconds += seconds
