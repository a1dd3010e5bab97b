"""The log of requests: lines go together, none is lost, none is cut. Knows files that remember how they were written."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys

from app import log


class Written(io.BytesIO):
    """A file that remembers its writes."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, part: bytes) -> int:  # type: ignore[override]
        self.writes.append(bytes(part))
        return len(part)


def test_lines_of_one_moment_are_written_together_and_within_a_moment() -> None:
    file = Written()

    async def work() -> None:
        lines = log._Gathered(file)
        for number in range(3):
            lines.write(b"%d\n" % number)
            lines.flush()
        assert not file.writes
        await asyncio.sleep(2 * log.PATIENCE)
        assert file.writes == [b"0\n1\n2\n"]
        lines.write(b"3\n")
        await asyncio.sleep(2 * log.PATIENCE)

    asyncio.run(work())
    assert file.writes[1:] == [b"3\n"]


def test_no_line_is_cut_where_a_pipe_would_mix_it_with_others() -> None:
    file = Written()

    async def work() -> None:
        lines = log._Gathered(file)
        for _ in range(100):
            lines.write(b"." * 149 + b"\n")
        lines.write(b"+" * 5000 + b"\n")
        await asyncio.sleep(2 * log.PATIENCE)

    asyncio.run(work())
    assert all(part.endswith(b"\n") and len(part) <= log.WHOLE for part in file.writes[:-1])
    assert len(file.writes) == 5  # four of at most 27 lines, and the long one
    assert sum(map(len, file.writes)) == 100 * 150 + 5001


def test_what_waits_at_the_end_of_a_process_is_written() -> None:
    script = """
import asyncio
from app import log, settings
given = settings.Settings(log_format="json")
log.configure(given)
async def work():
    log.requests(given).info("request", status=200)
asyncio.run(work())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stderr)["status"] == 200
