"""The pace of a version on this machine: measured once, kept beside its files. Knows files and formulas, no queue."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnxruntime
import structlog

from app.serving.pace import GUESS, Pace
from models import calibration
from models.calibration import Point
from models.predictor import Predictor

log = structlog.get_logger("cellgate.serving")


def place(folder: Path, *, device: str, threads: int) -> Path:
    """Where the pace of the version in `folder` lies, for this machine."""
    return folder / f"pace-{fingerprint(device, threads)}.json"


def kept(path: Path) -> Pace | None:
    """The pace that lies there, if one does."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Pace(**json.loads(path.read_text(encoding="utf-8")))
    return None


def keep(pace: Pace, path: Path) -> None:
    """Put it there. A folder that cannot be written to is no fault: it is measured anew each time."""
    part = path.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        part.write_text(json.dumps(asdict(pace)), encoding="utf-8")
        part.replace(path)


def measure(held: Predictor) -> Pace:
    """The pace of a version, now; a guess where nothing can be measured."""
    try:
        return fitted(calibration.points(held))
    except Exception as error:  # what a version answers is none of our business, how fast it is all of it
        log.warning("a version's pace cannot be measured", task=held.codec.card.name, error=repr(error))
        return GUESS


def fingerprint(device: str, threads: int) -> str:
    """Changes with all that changes a pace."""
    facts = (platform.machine(), _processor(), onnxruntime.__version__, device, threads, os.cpu_count())
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _processor() -> str:
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8") as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "")
    return platform.processor()


def fitted(points: Sequence[Point]) -> Pace:
    """The formula that fits what was measured, no term of it below zero: each counts by its relative error."""
    rows = np.array([(1, p.steps, p.items, p.items * p.steps) for p in points], dtype=float)
    weights = 1 / np.array([point.seconds for point in points])
    rows *= weights[:, None]
    terms = [0, 3, 1, 2] if len({point.steps for point in points}) > 1 else [0, 3]
    while True:  # least squares without a term below zero: leave out the worst, and fit again
        found = np.zeros(4)
        found[terms] = np.linalg.lstsq(rows[:, terms], np.ones(len(rows)), rcond=None)[0]
        below = min(terms, key=lambda term: found[term])
        if found[below] >= 0 or len(terms) == 1:
            break
        terms.remove(below)
    fixed, step, item, padded = (max(0.0, float(value)) for value in found)
    return Pace(fixed=fixed, step=step, item=item, padded=padded)
