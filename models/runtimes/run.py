"""The seam between meaning and arithmetic: a function's name and arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np


class Run(Protocol):
    """Runs a network's functions on whatever device holds it; the same numbers from every runtime."""

    def __call__(self, function: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name. Inputs the function does not declare are ignored; the batch axis is first."""
        ...
