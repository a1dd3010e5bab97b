"""Memory that was freed goes back to the system. Knows the C library's allocator, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

HELD = """
import sys
from app import allocator
if sys.argv[1] == "settled":
    assert allocator.settle(arenas=2)
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
bytes(16 << 20)  # left alone, blocks up to this size come from the heap from here on
before = resident()
blocks = [b"." * (9 << 20) for _ in range(20)]
last = blocks.pop()
blocks.clear()
print((resident() - before) >> 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_what_was_freed_goes_back_to_the_system() -> None:
    kept = {
        how: int(subprocess.run([sys.executable, "-c", HELD, how], capture_output=True, text=True, check=True).stdout)
        for how in ("settled", "alone")
    }
    assert kept["settled"] <= 11  # the last block is still held
    assert kept["alone"] > 50  # what the settings are there for
