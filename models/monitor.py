"""What a training tells, and whom. Knows numbers and sentences; no torch, no job."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a training is."""

    fraction: float
    epoch: int
    epochs: int
    step: int
    steps: int
    eta_seconds: float | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """What one epoch measured."""

    epoch: int
    step: int
    values: dict[str, float]


class Monitor(Protocol):
    """Who watches a training."""

    def progress(self, progress: Progress) -> None: ...

    def epoch(self, report: EpochReport) -> None: ...

    def log(self, text: str, level: str = "info") -> None: ...

    def stop(self) -> str | None:
        """Asked between batches: None, or why to stop now."""
        ...

    def enough(self, *, epoch: int, best: float) -> str | None:
        """Asked after each epoch but the last, with the best score so far: None, or why that is to be the end."""
        ...


class Silent:
    """Watches nothing and never stops."""

    def progress(self, progress: Progress) -> None: ...

    def epoch(self, report: EpochReport) -> None: ...

    def log(self, text: str, level: str = "info") -> None: ...

    def stop(self) -> str | None:
        return None

    def enough(self, *, epoch: int, best: float) -> str | None:
        return None


class TrainingError(Exception):
    """A training that cannot succeed: `type` is stable, `detail` is the cause, `remedy` what to do."""

    def __init__(self, type: str, detail: str, remedy: str) -> None:  # noqa: A002  the problem's own word
        super().__init__(detail)
        self.type, self.detail, self.remedy = type, detail, remedy


class Stopped(Exception):
    """The monitor asked to stop."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
