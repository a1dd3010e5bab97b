"""Tells the C library's allocator to give memory back. Knows the C library, nothing of this service."""

from __future__ import annotations

import contextlib
import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
"""The parameters' numbers in glibc's malloc.h."""
FREE = 6 << 20
"""Bytes that may lie free at a heap's end before they go back to the system."""
LARGE = 8 << 20
"""Bytes from which a block is a mapping of its own, which goes back as soon as it is freed. Both lie above what a
usual batch takes: memory that every forward pass asks for anew costs it a tenth of its time."""


def settle(*, arenas: int) -> bool:
    """Keep little that was freed, in so many arenas; whether the C library knows how (glibc does).

    Left alone, glibc takes eight arenas a core, one for each thread that meets another, and lets the threshold of
    blocks that are mappings grow with every larger one that is freed: a service keeps what its largest batches took,
    once for each of its threads.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return all(
        mallopt(name, value) for name, value in ((ARENA_MAX, arenas), (TRIM_THRESHOLD, FREE), (MMAP_THRESHOLD, LARGE))
    )


def trim() -> None:
    """Give back what lies free between what is in use, as loading a model leaves it. Takes some milliseconds."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
