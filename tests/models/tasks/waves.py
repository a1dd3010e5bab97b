"""A noisy sine, the series that every test of anomalies begins with."""

from __future__ import annotations

import numpy as np


def sine(seed: int, n: int = 400, *, scale: float = 1.0, noise: float = 0.05) -> np.ndarray:
    random = np.random.default_rng(seed)
    return scale * (3 + np.sin(2 * np.pi * (np.arange(n) / 20 + random.uniform())) + random.normal(0, noise, n))
