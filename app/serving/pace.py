"""What a forward pass costs, as a formula, and what follows from it for batches. Knows numbers alone.

B items, T steps of the longest: ``fixed + step * T + item * B + padded * B * T`` seconds. The first two terms are
paid once however many go together; the last is paid for padding as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

ENOUGH = 0.1
"""A batch is large enough when what is paid once is this share of the whole; more of it is but waiting, and memory that
no cache holds."""
MOST = 128
"""Items in a batch at most."""
MOST_STEPS = 65_536
"""Padded steps in a batch at most, but for one item that has more: bounds memory where company never stops paying."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds of a forward pass by its size."""

    fixed: float
    step: float
    item: float
    padded: float
    measured: bool = True
    """Whether it is more than a guess."""

    def seconds(self, items: int, steps: int) -> float:
        """What a batch takes."""
        return self.fixed + self.step * steps + self.item * items + self.padded * items * steps

    def saved(self, steps: int) -> float:
        """What one item less to run alone saves: all that is paid once."""
        return self.fixed + self.step * steps

    def budget(self, steps: int, *, once: float = 0.0) -> float:
        """Padded steps of a batch whose longest item has `steps`; beyond them company gains nothing. `once`: seconds
        beside the forward pass that a batch costs, however large."""
        each = self.padded + self.item / max(1, steps)
        return min((self.saved(steps) + once) / (ENOUGH * each) if each > 0 else math.inf, MOST_STEPS)

    def joins(self, length: int, items: int, steps: int, *, once: float = 0.0) -> bool:
        """Whether an item goes with `items` others of `steps` padded steps: it costs less padding than it saves."""
        padding = self.padded * (items * (length - steps) if length > steps else steps - length)
        return padding < self.saved(min(length, steps)) + once

    def chosen(
        self, first: int, lengths: Sequence[int], *, most_steps: float = math.inf, once: float = 0.0
    ) -> list[int]:
        """Which of some waiting items go with one of length `first`: the nearest in length, while it pays and there
        are no more than `most_steps` padded ones."""
        together, steps = 1, first
        chosen = []
        distances = [abs(length - first) for length in lengths]
        for index in sorted(range(len(lengths)), key=distances.__getitem__):
            length = lengths[index]
            longest = max(steps, length)
            if together >= MOST or (together + 1) * longest > min(self.budget(longest, once=once), most_steps):
                break
            if not self.joins(length, together, steps, once=once):
                continue
            chosen.append(index)
            together, steps = together + 1, longest
        return chosen


GUESS = Pace(fixed=150e-6, step=3e-6, item=20e-6, padded=15e-6, measured=False)
"""Before anything was measured: a small network on one core."""
