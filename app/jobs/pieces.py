"""Work that is laid down as it is done: lines in files, each going on where the last ended. Knows no job table.

The worker takes each file to the blob store and notes the place after it; whoever goes on begins there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.jobs.executors import Message

SOONEST, LATEST = 0.25, 30.0
"""Seconds between two pieces: first short, growing with the time spent, never longer than the second."""


class Pieces:
    """Writes lines into a folder, from which the worker takes them file by file."""

    def __init__(self, folder: Path, send: Callable[[Message], None]) -> None:
        self._folder, self._send = folder, send
        self._number = 0
        self._file = self._opened()
        self._began = self._laid_down = time.monotonic()

    def write(self, line: bytes) -> None:
        """Add a line, its end included."""
        self._file.write(line)

    @property
    def due(self) -> bool:
        """Whether it is time: a lost process costs half a minute at most, and of a short work never the most."""
        now = time.monotonic()
        return now - self._laid_down > min(LATEST, max(SOONEST, (now - self._began) / 2))

    def lay_down(self, place: dict[str, Any]) -> None:
        """Hand over what was written; `place` says where to go on after it. Nothing happens where nothing was."""
        if not self._file.tell():
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        path, size = Path(self._file.name), self._file.tell()
        self._file.close()
        self._send(("checkpoint", {"path": str(path), "bytes": size, **place}))
        self._number += 1
        self._file, self._laid_down = self._opened(), time.monotonic()

    def close(self) -> None:
        """Drop what was not laid down."""
        self._file.close()
        with suppress(FileNotFoundError):
            Path(self._file.name).unlink()

    def _opened(self) -> Any:
        return (self._folder / f"{self._number:08}.jsonl").open("wb")
