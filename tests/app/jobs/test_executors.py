"""How the end of a job's process is told: real processes that end by a signal. Knows no job."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from app.jobs import executors
from app.jobs.executors import Gone, LocalRunning, starved


@pytest.mark.parametrize("unfinished", [b"", b"\0\0\0\x64half a wo"])
@pytest.mark.parametrize(
    ("number", "counted", "told"),
    [
        (signal.SIGSEGV, [0, 0], ("SIGSEGV", False)),
        (signal.SIGKILL, [3, 3], ("SIGKILL, sent by somebody", True)),
        (signal.SIGKILL, [3, 4], ("SIGKILL by the kernel, for memory ran out", False)),
        (signal.SIGKILL, [None, None], ("SIGKILL", False)),
    ],
)
def test_a_process_that_ends_is_told_by_what_ended_it(
    monkeypatch: pytest.MonkeyPatch,
    unfinished: bytes,
    number: signal.Signals,
    counted: list[int | None],
    told: tuple[str, bool],
) -> None:
    counts = iter(counted)
    monkeypatch.setattr(executors, "starved", lambda: next(counts))
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(target=signal.raise_signal, args=(number,), daemon=True)
    process.start()
    os.write(theirs.fileno(), unfinished)
    theirs.close()
    running = LocalRunning([(process, ours)])
    process.join(60)
    with pytest.raises(Gone) as gone:
        running.messages(1.0)
    assert (gone.value.how, gone.value.killed) == told
    running.kill()


def test_the_kernels_count_is_read_where_there_is_one(tmp_path: Path) -> None:
    counters = tmp_path / "vmstat"
    assert starved(counters) is None
    counters.write_text("pgfault 12\n")
    assert starved(counters) is None
    counters.write_text("pgfault 12\noom_kill 7\nnuma 1\n")
    assert starved(counters) == 7
