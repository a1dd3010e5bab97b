"""What a batcher has done, counted. Knows numbers alone."""

from __future__ import annotations

from dataclasses import dataclass, field

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Upper ends of the classes in which batches are counted."""


@dataclass(slots=True)
class Stats:
    """What a batcher has done. Seconds are sums."""

    requests: int = 0
    items: int = 0
    batches: int = 0
    inline: int = 0
    """Batches that ran where the request was."""
    largest: int = 0
    refused: int = 0
    late: int = 0
    left: int = 0
    """Requests whose caller went away."""
    out_of_memory: int = 0
    """Forward passes that the memory did not hold: they were tried again, in halves."""
    seconds: float = 0.0
    """In forward passes."""
    waited: float = 0.0
    """In the queue, over all items."""
    steps: int = 0
    padded: int = 0
    """Steps that batches had, padding included."""
    sizes: list[int] = field(default_factory=lambda: [0] * len(SIZES))
    """Batches of each class of `SIZES`."""

    @property
    def waste(self) -> float | None:
        """The share of steps that was padding."""
        return 1 - self.steps / self.padded if self.padded else None

    def __add__(self, other: Stats) -> Stats:
        both = {name: getattr(self, name) + getattr(other, name) for name in self.__slots__}
        both["largest"] = max(self.largest, other.largest)
        both["sizes"] = [a + b for a, b in zip(self.sizes, other.sizes, strict=True)]
        return Stats(**both)
