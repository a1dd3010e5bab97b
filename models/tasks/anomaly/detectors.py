"""Two ways to say what a step should have been: forecasting it, and reconstructing it. NumPy only.

B series, N windows, W steps of a window, T steps, F numbers of a step, I inputs of a step, K horizons,
S numbers of a recurrent state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.batch import Example, pad
from models.runtimes.run import Run
from models.tasks.anomaly.prepare import FIRST, LIMIT, Past, Series, inputs, scaled_by
from models.tasks.anomaly.schema import State
from models.tasks.anomaly.scoring import WORST

CHUNK = 512
"""Steps that a predictor reads at a time, and windows that an autoencoder does: bounds memory."""
FLOOR = 0.02
"""Least half-width of an interval, in spreads: a series that never moved may still move a little."""
WILD = 20.0
"""Root mean squares beyond which an error widens its series' intervals no further: one glitch hides little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What was expected of one series."""

    expected: np.ndarray
    """(T, F)"""
    below: np.ndarray
    """(T, F) half-width of the interval under it; above 0."""
    above: np.ndarray
    """(T, F) half-width of the interval over it; above 0."""
    surprise: np.ndarray
    """(T,) how many half-widths off the oddest feature is by the most surprised forecast; NaN where not judged."""
    strain: np.ndarray
    """(T,) the same by all that was expected together: what stretches are made of."""
    warm_up: int


class Detector(ABC):
    """What a network reads of a series, and what its arrays say of it."""

    @abstractmethod
    def arrays(self, series: Series, state: State, learnt: np.ndarray | None) -> dict[str, np.ndarray]:
        """The arrays of one example; with targets where `learnt` (T,) says which steps teach."""

    @abstractmethod
    def steps(self, arrays: Mapping[str, np.ndarray]) -> int:
        """How many steps the network runs for the arrays of one example."""

    @abstractmethod
    def collate(self, examples: Sequence[Example]) -> dict[str, np.ndarray]:
        """The arrays of a batch."""

    @abstractmethod
    def judge(self, run: Run, arrays: Mapping[str, np.ndarray], series: Sequence[Series], state: State) -> list[Judged]:
        """Each series of a batch, judged."""


class Predictor(Detector):
    """Forecasts every step from those before it, several horizons ahead (Malhotra et al. 2015, with quantiles).

    An error counts in half-widths: those the network's quantiles say and, where the scale is a series' own, the root
    mean square of that horizon's errors in the series so far, squares added. So one threshold fits calm series and
    rough ones. What was forecast before a series had shown its spread does not count. The running level is held to be
    one more forecast, of the farthest horizon. A step's surprise is that of its worst forecast; its strain the root
    mean square of all, the level weighing as much as the others together.
    The network reads chunk after chunk from a state of zeros: that state, the forecasts not yet judged, a mean square
    a horizon and the decaying sums of `models.tasks.anomaly.prepare` are all that a series leaves behind.
    """

    def arrays(self, series: Series, state: State, learnt: np.ndarray | None) -> dict[str, np.ndarray]:
        arrays = {"features": series.features()}
        if learnt is not None:
            taught = np.where(learnt[:, None] & series.known, series.values, np.nan)
            target = np.full((len(taught), len(state.ahead), state.width), np.nan, dtype=np.float32)
            for index, far in enumerate(state.ahead):
                count = max(0, len(taught) - far)
                origin = slice(1, count + 1)
                target[:count, index] = scaled_by(taught[far:], series.location[origin], series.scale[origin])
            arrays["target"] = target
        return arrays

    def steps(self, arrays: Mapping[str, np.ndarray]) -> int:
        return len(arrays["features"])

    def collate(self, examples: Sequence[Example]) -> dict[str, np.ndarray]:
        arrays = {"features": pad([example.arrays["features"] for example in examples])}
        if "target" in examples[0].arrays:
            arrays["target"] = pad([example.arrays["target"] for example in examples], value=np.nan)
        arrays["lengths"] = np.array([example.length for example in examples], dtype=np.int64)
        return arrays

    def judge(self, run: Run, arrays: Mapping[str, np.ndarray], series: Sequence[Series], state: State) -> list[Judged]:
        features, lengths = arrays["features"], arrays["lengths"]
        said = np.zeros((*features.shape[:2], len(state.ahead), state.width, 3), dtype=np.float32)
        held = run("start", {"lengths": lengths})["state"].copy()
        for start in range(0, features.shape[1], CHUNK):
            alive = np.flatnonzero(lengths > start)
            chunk = features[alive, start : start + CHUNK]
            found = run("forward", {"features": chunk, "state": held[alive]})
            said[alive, start : start + CHUNK] = found["quantiles"].reshape(*chunk.shape[:2], *said.shape[2:])
            held[alive] = found["after"]
        return [
            self.judged(one[:length], each, state, Past())
            for one, length, each in zip(said, lengths, series, strict=True)
        ]

    def judged(self, said: np.ndarray, series: Series, state: State, past: Past) -> Judged:
        """said (T, K, F, 3): of the value so far ahead the median, and the half-widths under and over it. `past`: of
        the steps before, whose forecasts of these steps it holds."""
        total, level, scale = len(said), series.location[:-1], series.scale[:-1]
        said = past.joined("said", said, max(state.ahead))
        origins = past.joined("location", series.location[1:], max(state.ahead))
        scales = past.joined("scale", series.scale[1:], max(state.ahead))
        firm = past.joined("firm", series.firm, max(state.ahead))
        earlier = len(said) - total
        errors = np.where(series.known, series.values - level, np.nan)
        width = _settled(errors, state, (past, "level"), start=scale)
        off = np.square(errors / width)
        expected, below, above, worst = level.copy(), width, width.copy(), off.copy()
        squares, counts = np.zeros((2, total, state.width))
        for index, far in reversed(list(enumerate(state.ahead))):
            first = max(earlier, far)
            if first >= len(said):
                continue
            at, origin = slice(first - earlier, None), slice(first - far, len(said) - far)
            told, scale = said[origin, index].astype(np.float64), scales[origin]
            sure = firm[origin][:, None]
            expected[at] = np.where(sure, origins[origin] + scale * told[..., 0], expected[at])
            errors = np.where(series.known[at] & sure, series.values[at] - expected[at], np.nan)
            usual = _settled(errors, state, (past, f"ahead {far}"))
            below[at] = np.where(sure, np.hypot(scale * (FLOOR + told[..., 1]), usual), below[at])
            above[at] = np.where(sure, np.hypot(scale * (FLOOR + told[..., 2]), usual), above[at])
            forecast = np.square(errors / np.where(errors < 0, below[at], above[at]))
            worst[at] = np.fmax(worst[at], forecast)
            squares[at] += np.nan_to_num(forecast)
            counts[at] += ~np.isnan(forecast)
        strain = np.where(counts > 0, (off + squares / np.maximum(counts, 1)) / 2, off)
        return Judged(
            expected=expected,
            below=below,
            above=above,
            surprise=_oddest(np.sqrt(worst)),
            strain=_oddest(np.sqrt(strain)),
            warm_up=min(total, max(state.ahead) + (FIRST if state.location is None else 0)),
        )


def _settled(
    errors: np.ndarray, state: State, held: tuple[Past, str], *, start: np.ndarray | float = 0.0
) -> np.ndarray:
    """(T, F): the root mean square of the errors (T, F; NaN where there is none) before each step, decaying, among a
    few of `start`; `start` alone where series share their scale, so that a whole series can be odd."""
    if state.location is not None:
        return np.broadcast_to(np.asarray(start, dtype=np.float64), errors.shape).copy()
    there = ~np.isnan(errors)
    squares, first = np.square(np.where(there, errors, 0.0)), FIRST * np.square(start)
    (past, name), weight = held, 1 / (1 - 0.5 ** (1 / state.memory))
    counts = weight * past.before(f"{name} counts", there.astype(np.float64), state.memory) + FIRST
    reach = WILD**2 * (weight * past.before(f"{name} squares", squares, state.memory) + first) / counts
    squares = np.where(past.counted(f"{name} seen", there) > FIRST, np.minimum(squares, reach), squares)
    settled: np.ndarray = np.sqrt((weight * past.before(f"{name} cut", squares, state.memory) + first) / counts)
    return settled


def _oddest(found: np.ndarray) -> np.ndarray:
    """(T,) the largest of each step (T, F), cut at the worst; NaN where there is none."""
    most = np.where(np.isnan(found), -1.0, found).max(axis=1)
    return np.where(most < 0, np.nan, np.minimum(most, WORST))


class Autoencoder(Detector):
    """Reconstructs windows from one state vector (Malhotra et al. 2016). A step is expected to be what the windows
    that hold it say on average; each window is scaled by what is known at its end."""

    def arrays(self, series: Series, state: State, learnt: np.ndarray | None) -> dict[str, np.ndarray]:
        at = self._places(len(series.values), state)
        location, scale, known = self._scales(series, at)
        held = series.values[at]
        arrays = {
            "windows": inputs(held, location, scale, known, series.facts[at]),
            "lengths": np.full(len(at), at.shape[1], dtype=np.int64),
        }
        if learnt is not None:
            target = scaled_by(held, location, scale)
            arrays["target"] = np.where(learnt[at][..., None] & known, target, np.nan).astype(np.float32)
        return arrays

    def steps(self, arrays: Mapping[str, np.ndarray]) -> int:
        return int(arrays["lengths"].sum())

    def collate(self, examples: Sequence[Example]) -> dict[str, np.ndarray]:
        windows = [window for example in examples for window in example.arrays["windows"]]
        arrays = {"windows": pad(windows)}
        if "target" in examples[0].arrays:
            arrays["target"] = pad([each for e in examples for each in e.arrays["target"]], value=np.nan)
        arrays["lengths"] = np.concatenate([example.arrays["lengths"] for example in examples])
        return arrays

    def judge(self, run: Run, arrays: Mapping[str, np.ndarray], series: Sequence[Series], state: State) -> list[Judged]:
        windows, lengths = arrays["windows"], arrays["lengths"]
        said = [
            run("forward", {"windows": windows[at : at + CHUNK], "lengths": lengths[at : at + CHUNK]})["values"]
            for at in range(0, len(windows), CHUNK)
        ]
        whole = np.concatenate(said)
        judged, done = [], 0
        for each in series:
            at = self._places(len(each.values), state)
            judged.append(self._judged(whole[done : done + len(at), : at.shape[1]], at, each, state))
            done += len(at)
        return judged

    def _judged(self, said: np.ndarray, at: np.ndarray, series: Series, state: State) -> Judged:
        """said (N, W, F), in spreads from the level of each window."""
        total = len(series.values)
        location, scale, known = self._scales(series, at)
        sums, spreads = np.zeros((2, total, state.width))
        np.add.at(sums, at, location + scale * said)
        np.add.at(spreads, at, np.broadcast_to(scale, said.shape))
        counts = np.bincount(at.ravel(), minlength=total)[:, None]
        expected = sums / counts
        spread = spreads / counts
        there = np.zeros((total, state.width), dtype=bool)
        there[at] = known
        errors = np.where(there, series.values - expected, np.nan)
        width = np.hypot(spread * (FLOOR + np.array(state.spread)), _settled(errors, state, (Past(), "")))
        surprise = _oddest(np.abs(errors) / width)
        return Judged(
            expected=expected,
            below=width,
            above=width,
            surprise=surprise,
            strain=surprise,
            warm_up=total if total < state.window else 0,
        )

    @staticmethod
    def _places(total: int, state: State) -> np.ndarray:
        """(N, W): the steps of each window, every fourth of a window one; the last ends with the series."""
        width = min(total, state.window)
        starts = np.unique(np.r_[np.arange(0, total - width + 1, max(1, width // 4)), total - width])
        places: np.ndarray = starts[:, None] + np.arange(width)
        return places

    @staticmethod
    def _scales(series: Series, at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Level and spread (N, 1, F) at the end of each window, and which of its values are known (N, W, F)."""
        end = at[:, -1] + 1
        known = ~np.isnan(series.values) & series.known.any(axis=0)
        return series.location[end][:, None], series.scale[end][:, None], known[at]

    @staticmethod
    def errors(judged: Judged, series: Series) -> np.ndarray:
        """(T, F): how far the values lie from what was expected, in spreads of the series; NaN where missing."""
        errors: np.ndarray = np.minimum(np.abs(series.values - judged.expected) / series.scale[1:], LIMIT)
        return errors


PREDICTOR = Predictor()
DETECTORS: dict[str, Detector] = {"predictor": PREDICTOR, "autoencoder": Autoencoder()}
