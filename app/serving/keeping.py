"""What may be asked of how a version is kept in memory. Knows words alone, so that routes can say them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.predictor import Precision


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """How a version is kept in memory."""

    precision: Precision = "auto"
    replicas: int = 1
    pinned: bool = False
    """Whether it stays until it is unloaded, whoever else needs room."""

    def alike(self, other: Keeping) -> bool:
        """Whether the copies are the same."""
        return (self.precision, self.replicas) == (other.precision, other.replicas)
