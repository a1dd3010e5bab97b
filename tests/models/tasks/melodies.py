"""A scale, and notes as a client writes them."""

from __future__ import annotations

from typing import Any

SCALE = list("CDEFGAB")


def notes(*pitches: Any, duration: float = 1.0) -> list[dict[str, Any]]:
    return [{"pitch": pitch, "duration": duration} for pitch in pitches]
