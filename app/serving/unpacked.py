"""Unpacked artifacts on this machine's disk, a folder for each digest. Knows files and their ages, no model.

Several API processes may share the folder; what one removes, another unpacks again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Set
from pathlib import Path

from app.blobs import Blobs, local
from models import artifact

MOST = 32
"""Folders kept at most; the least recently used go first."""
STALE = 3600.0
"""Seconds after which what was half unpacked was left behind by a process that is gone."""
HALF = ".half-"


class Unpacked:
    """The folders of unpacked artifacts."""

    def __init__(self, folder: Path, blobs: Blobs) -> None:
        self.folder, self.blobs = folder, blobs

    def get(self, digest: str) -> Path:
        """The files of an artifact, unpacked once. Raises `NotFound`, `ArtifactError`."""
        found = self.folder / digest
        with contextlib.suppress(FileNotFoundError):
            os.utime(found)  # its age is the time since it was last asked for
            return found
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=HALF) as scratch:
            made = Path(scratch) / "files"
            made.mkdir()
            artifact.unpack(local(self.blobs, digest, Path(scratch)), made)
            with contextlib.suppress(OSError):  # another process was first
                made.rename(found)
        return found

    def forget(self, digest: str) -> None:
        """Remove an artifact's files, as when they are damaged."""
        shutil.rmtree(self.folder / digest, ignore_errors=True)

    def sweep(self, keep: Set[str]) -> None:
        """Remove the least recently used folders beyond `MOST`, none of `keep`, and what was left half done."""
        ages: list[tuple[float, Path]] = []
        with contextlib.suppress(FileNotFoundError):
            for path in self.folder.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    ages.append((path.stat().st_mtime, path))
        whole = sorted((age, path) for age, path in ages if not path.name.startswith(HALF))
        surplus = [path for _, path in whole[: max(0, len(whole) - MOST)] if path.name not in keep]
        old = time.time() - STALE
        for path in [*surplus, *(path for age, path in ages if path.name.startswith(HALF) and age < old)]:
            shutil.rmtree(path, ignore_errors=True)
