"""A version in memory, with what batches its answers. Knows who uses it, not why it is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.metrics import Figures
from app.services.registry import VersionView
from app.serving.batcher import SIZES, Batcher, Stats
from app.serving.pace import Pace
from models.predictor import Predictor
from models.stream import Stepper


@dataclass(frozen=True)
class Stepping:
    """A version where sequences arrive step by step, and what batches their steps."""

    stepper: Stepper
    batcher: Batcher


@dataclass(kw_only=True)
class Served:
    """A version in memory."""

    version: VersionView
    predictor: Predictor
    batcher: Batcher
    stepping: Stepping | str
    """What answers sequences that arrive step by step; or why the version cannot."""
    device: str
    loaded_at: float
    used: int = 0
    """Callers between `get` and their answer."""
    used_at: float = 0.0
    """When the last of them came, on `time.monotonic`."""

    @property
    def batchers(self) -> list[Batcher]:
        """All that answers for it."""
        return [self.batcher, *([] if isinstance(self.stepping, str) else [self.stepping.batcher])]

    @property
    def waiting(self) -> int:
        """Items that wait."""
        return sum(batcher.waiting for batcher in self.batchers)

    @property
    def busy(self) -> bool:
        """Whether anything waits or runs."""
        return any(batcher.busy for batcher in self.batchers)

    def paced(self, pace: Pace) -> None:
        """What its forward passes were measured to cost; a step that is sent alone costs what any other does."""
        for batcher in self.batchers:
            batcher.pace = pace

    def counted(self) -> Stats:
        """What all its batchers have done."""
        return sum((batcher.stats for batcher in self.batchers), Stats())

    def stats(self) -> dict[str, Any]:
        """The same, for people to read."""
        done, pace = self.counted(), self.batcher.pace
        return {
            "weights": self.predictor.weights,
            "requests": done.requests,
            "items": done.items,
            "batches": done.batches,
            "inline_batches": done.inline,
            "largest_batch": done.largest,
            "batch_sizes": {str(most): count for most, count in zip(SIZES, done.sizes, strict=True)},
            "queue": self.waiting,
            "refused": done.refused,
            "late": done.late,
            "left": done.left,
            "mean_batch_seconds": done.seconds / done.batches if done.batches else None,
            "mean_wait_seconds": done.waited / done.items if done.items else None,
            "padding": done.waste,
            "pace": {
                "measured": pace.measured,
                "fixed_seconds": pace.fixed,
                "step_seconds": pace.step,
                "item_seconds": pace.item,
                "padded_step_seconds": pace.padded,
            },
        }

    def figures(self) -> Figures:
        """The same, for Prometheus."""
        done = self.counted()
        return Figures(
            labels=(self.version.model, str(self.version.version)),
            queue=self.waiting,
            requests=done.requests,
            items=done.items,
            batches=done.batches,
            inline=done.inline,
            refused=done.refused,
            late=done.late,
            waited=done.waited,
            forward=done.seconds,
            steps=done.steps,
            padded=done.padded,
            sizes=[(str(most), count) for most, count in zip(SIZES, done.sizes, strict=True)],
        )

    async def drain(self) -> None:
        """Wait until everything that was submitted is answered."""
        for batcher in self.batchers:
            await batcher.drain()

    def close(self) -> None:
        """Free what it holds; nothing waits or runs any more."""
        for batcher in self.batchers:
            batcher.close()
        self.predictor.close()
