"""The footprint of a version on this machine: measured once in a process of its own, kept beside its files. Knows files
and processes, no queue."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import structlog

from app.serving.calibrated import fingerprint
from models import footprint
from models.footprint import Footprint
from models.predictor import Precision

log = structlog.get_logger("cellgate.serving")

SECONDS = 60.0
"""How long the measuring may take."""


def weighed(folder: Path, *, device: str, threads: int, precision: Precision = "auto") -> Footprint:
    """The footprint that lies in `folder` for this machine, else a new one; by the files' size if there can be none."""
    path = folder / f"memory-{precision}-{fingerprint(device, threads)}.json"
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Footprint(**json.loads(path.read_text(encoding="utf-8")))
    command = [sys.executable, "-m", "models.footprint", str(folder), device, str(threads), precision]
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=True)  # noqa: S603
        found = Footprint(**json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError, TypeError) as error:
        log.warning("the memory of a version cannot be measured", error=type(error).__name__)
        return footprint.estimated(folder, device)
    with contextlib.suppress(OSError):
        path.write_text(json.dumps(asdict(found)), encoding="utf-8")
    return found
