"""Temporary files of a process that was killed are gone when the next one starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from app import scratch

KILLED = """
import os, signal, tempfile
from app import scratch
with scratch.settled() as own:
    tempfile.mkstemp(prefix="half-a-copy-")
    print(own, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_what_a_killed_process_left_goes_and_what_lives_stays(shared: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    left = Path(done.stdout.strip())
    assert [path.name.startswith("half-a-copy-") for path in left.iterdir()] == [True]
    others = shared / "cellgate-of-another-make"
    others.mkdir()
    with scratch.settled() as own:
        assert not left.exists()
        assert Path(tempfile.mkdtemp()).parent == own
        assert scratch.sweep(shared) == 0
    assert sorted(shared.iterdir()) == [others]
    assert tempfile.gettempdir() == str(shared)


FORKED = """
import multiprocessing, tempfile
from app import scratch
with scratch.settled() as own:
    context = multiprocessing.get_context("forkserver")
    child = context.Process(target=print, args=("from a child",))
    child.start()
    child.join()
print(own)
"""


def test_a_process_that_had_children_ends_in_silence_and_leaves_nothing() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t-") as short:  # the path of a socket is short
        command = [sys.executable, "-c", FORKED]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": short})
        assert (done.returncode, done.stderr) == (0, "")
        assert not Path(done.stdout.split()[-1]).exists()
        assert list(Path(short).iterdir()) == []
