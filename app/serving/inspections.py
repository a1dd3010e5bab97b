"""The use case of looking inside a version: its gates while it reads an item. Knows processes; no torch, no HTTP.

Torch computes the gates in a process of its own, so that the API stays without it.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from app.errors import Flaw, Full, Invalid, Late
from app.services.registry import VersionView

if TYPE_CHECKING:
    from app.serving.loaded import Loaded

log = structlog.get_logger("cellgate.serving")

WAITING = 8
"""Inspections that may wait for the one under way."""


class Inspections:
    """Inspects one version at a time."""

    def __init__(self, loaded: Loaded, *, seconds: float) -> None:
        self.loaded, self.seconds = loaded, seconds
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0

    async def version(self, reference: str) -> tuple[VersionView, Path]:
        """The version that a reference means, and its files. Raises `NotFound`."""
        return await self.loaded.files(reference)

    async def gates(self, folder: Path, item: Any) -> dict[str, Any]:
        """What `models.inspection` says of an item (JSON) that fits the task. Raises `Invalid`, `Full`, `Late`."""
        if self._waiting >= WAITING:
            raise Full(f"{WAITING} inspections are waiting already", retry_after=self.seconds)
        self._waiting += 1
        try:
            async with asyncio.timeout(self.seconds), self._turn:
                answer = await _asked(folder, orjson.dumps(item))
        except TimeoutError:
            raise Late("the deadline passed before the gates were read", retry_after=self.seconds) from None
        finally:
            self._waiting -= 1
        if "fault" in answer:
            pointer = "".join(f"/{step}" for step in ("input", *answer["at"]))
            raise Invalid(answer["fault"], errors=[Flaw(detail=answer["fault"], pointer=pointer)])
        return answer


async def _asked(folder: Path, item: bytes) -> dict[str, Any]:
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "models.inspection", str(folder))
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        said, complaint = await process.communicate(item)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        log.error("inspection failed", code=process.returncode, said=complaint.decode(errors="replace")[-2000:])
        raise Full("the version cannot be inspected now", retry_after=10.0)
    found: dict[str, Any] = orjson.loads(said)
    return found
