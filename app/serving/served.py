"""A version in memory, with what batches its answers. Knows who uses it, not why it is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.metrics import Figures
from app.services.registry import VersionView
from app.serving.batcher import Batcher
from app.serving.keeping import Keeping
from app.serving.pace import Pace
from app.serving.placing import Copy
from app.serving.stats import SIZES, Stats
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
    copies: Sequence[Copy]
    """Of it, each on a device of its own; at least one."""
    batcher: Batcher
    stepping: Stepping | str
    """What answers sequences that arrive step by step; or why the version cannot."""
    loaded_at: float
    keeping: Keeping
    used: int = 0
    """Callers between `get` and their answer."""
    used_at: float = 0.0
    """When the last of them came, on `time.monotonic`."""

    @property
    def predictor(self) -> Predictor:
        """What prepares its items, the same for every copy."""
        return self.copies[0].predictor

    @property
    def devices(self) -> list[str]:
        """Where it is."""
        return [copy.place.device.id for copy in self.copies]

    @property
    def memory(self) -> int:
        """Bytes that are kept for it."""
        return sum(copy.place.rest for copy in self.copies)

    @property
    def longest(self) -> int | None:
        """Steps of an item that each of the copies can hold; None: any."""
        return min((copy.place.longest for copy in self.copies if copy.place.longest is not None), default=None)

    @property
    def idle(self) -> bool:
        """Whether it may leave memory when others need room."""
        return not (self.used or self.keeping.pinned)

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
            "devices": self.devices,
            "memory": self.memory,
            "pinned": self.keeping.pinned,
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
            "out_of_memory": done.out_of_memory,
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
        """Take no more part in the streams; nothing waits or runs any more."""
        for batcher in self.batchers:
            batcher.close()
