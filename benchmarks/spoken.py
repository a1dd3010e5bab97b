"""Says each epoch of a training on a line of its own, and what it logs. Knows no task."""

from __future__ import annotations

from models.monitor import EpochReport, Silent


class Spoken(Silent):
    """A monitor for whoever waits at a terminal."""

    def epoch(self, report: EpochReport) -> None:
        print(f"  epoch {report.epoch}: { ({k: round(v, 4) for k, v in report.values.items()}) }", flush=True)

    def log(self, text: str, level: str = "info") -> None:
        print(f"  {text}", flush=True)
