"""Why a job failed: the kinds of problems, and the problem of an error in the worker. Knows no queue and no torch."""

from __future__ import annotations

import errno
from typing import Any

from app.errors import Away, CellgateError, Conflict, NotFound

TITLES = {
    "bad-data": "Bad data",
    "bad-params": "Bad params",
    "damaged-version": "Damaged version",
    "disk-full": "Disk full",
    "diverged": "Training diverged",
    "gone": "Something is gone",
    "internal": "Internal fault",
    "no-run-succeeded": "No run succeeded",
    "out-of-memory": "Out of memory",
    "refused": "Result refused",
    "storage-away": "Storage away",
    "worker-lost": "Worker lost",
}
"""Every kind that a job's `error.type` may be; docs/problems.md has them all."""
ANSWERS = "see whether the blob store answers (`cellgate doctor`), then retry the job"
ASKED: dict[type[CellgateError], tuple[str, str]] = {
    Away: ("storage-away", ANSWERS),
    NotFound: ("gone", "start a new job that names what is still there"),
    Conflict: ("refused", "settle what the sentence names, then retry the job"),
    CellgateError: ("bad-data", "put right what the sentence names, then retry the job"),
}
"""What it means to a job when a use case refuses, and what to do."""
LOOK = "this is a fault of the service: look into the worker's log, then retry the job"
FREE = "free space in the home and in the system's temporary folder, then retry the job"


def problem(kind: str, detail: str, remedy: str) -> dict[str, Any]:
    """A job's `error`: a stable type, a sentence, and what to do."""
    return {"type": kind, "title": TITLES[kind], "detail": detail, "remedy": remedy}


def of_worker(error: Exception) -> dict[str, Any]:
    """The problem of what a worker met around the work: files, versions, the registry."""
    kind, detail, remedy = "internal", f"{type(error).__name__} in the worker", LOOK
    if isinstance(error, CellgateError):
        kind, remedy = next(found for of, found in ASKED.items() if isinstance(error, of))
        detail = error.detail
    elif full(error):
        kind, detail, remedy = "disk-full", "the disk is full; nothing of the job was registered", FREE
    elif isinstance(error, OSError):
        kind, detail = "storage-away", f"files could not be moved: {type(error).__name__}"
        remedy = ANSWERS
    elif isinstance(error, MemoryError):
        kind, detail = "out-of-memory", "the worker's memory ran out"
        remedy = "give the worker more memory, then retry the job"
    return problem(kind, detail, remedy)


def full(error: BaseException) -> bool:
    """Whether a disk, or a share of it, is full."""
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}


def may_pass(found: dict[str, Any]) -> bool:
    """Whether the same job may succeed a little later though nobody does anything."""
    return found["type"] in {"storage-away", "worker-lost"}
