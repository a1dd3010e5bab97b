"""Series to what a detector reads, and what it found to scores, flags and alarms. NumPy only.

T steps, F numbers of a step.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from models import scores
from models.batch import Batch, Example
from models.runtimes.run import Run
from models.task import Codec, Fault, Part, Vectors
from models.tasks.anomaly import scoring
from models.tasks.anomaly.detectors import DETECTORS, Autoencoder, Judged
from models.tasks.anomaly.prepare import FACTS, FIRST, Past, Series, prepare
from models.tasks.anomaly.schema import CARD, AnomalyConfig, AnomalyParams, Event, Item, Output, Row, State

WINDOWS = {"predictor": 256, "autoencoder": 50}
CUT = 100
"""Series of fewer steps are not cut along time where there are enough of them to divide."""
ENOUGH = 10
SEGMENT = 4096
"""Steps of a held-out part that are judged together."""
CONTEXT = 1024
"""Steps before a held-out part that are read with it, at most."""
COLD = 64
"""Stretches of the validation part that are judged as if they were whole series."""
NUMBERS = 64_000_000
"""Numbers that all training windows hold, at most: bounds memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Which steps of an example count, and which of them are anomalies."""

    counted: np.ndarray
    """(T,) bool"""
    labels: np.ndarray | None
    """(T,) bool"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What gives an example's arrays their meaning back."""

    series: Series
    times: Sequence[datetime] | None
    flat: bool
    """Whether a step is one number, not a list."""


class AnomalyCodec(Codec[Row, Item, Output, State, AnomalyParams, AnomalyConfig]):
    """One global detector over many series of one width; scores, thresholds and alarms from its surprises."""

    card = CARD

    def learn(self, rows: Sequence[Row], config: AnomalyConfig, vectors: Vectors | None = None) -> State:
        width = _table(rows[0]).shape[1] if rows else 1
        for row in rows:
            if _table(row).shape[1] != width:
                raise Fault(f"a row has {_table(row).shape[1]} numbers in a step, another {width}")
        lengths = [len(row.values) for row in rows] or [1]
        window = config.window or WINDOWS[config.detector]
        ahead = sorted({far for far in config.ahead if far <= max(lengths) // 3} or {min(config.ahead)})
        numbers = min(window, max(lengths)) * (2 * width + FACTS + len(ahead) * width)
        state = State(
            detector=config.detector,
            width=width,
            window=window,
            windows=max(1, min(config.windows, NUMBERS // numbers) // max(1, len(rows))),
            whole=len(rows) >= ENOUGH and float(np.median(lengths)) < CUT,
            ahead=ahead,
            memory=config.memory,
            location=None,
            scale=None,
            smoothing=config.smoothing,
            excess=1 - config.percentile / 100,
            spread=[1.0] * width,
        )
        if config.scaling == "series":
            return state
        taught = [values for row in rows[:2000] if len(values := _taught(row, state))]
        location, scale, agree = _levels(taught, width)
        if config.scaling == "auto" and not agree:
            return state
        return state.model_copy(update={"location": location.tolist(), "scale": scale.tolist()})

    def examples(self, row: Row, state: State, config: AnomalyConfig, part: Part) -> Iterator[Example]:
        start, end = _span(row, state, part)
        if part == "train":
            yield from _windows(_taught(row, state), row.timestamps, state)
            return
        if end - start < 1:
            return
        series = _series(_table(row), row.timestamps, state, end)
        labels = None if row.labels is None else np.array(row.labels, dtype=bool)
        for first in range(start, end, SEGMENT):
            begun, last = max(0, first - CONTEXT), min(end, first + SEGMENT)
            counted = np.arange(begun, last) >= first
            marked = None if labels is None else labels[begun:last]
            answer = Answer(counted=counted, labels=marked)
            learnt = counted if marked is None else counted & ~marked
            yield _example(series.part(begun, last), state, learnt=learnt, answer=answer)

    def example(self, item: Item, params: AnomalyParams, state: State, config: AnomalyConfig) -> Example:
        values = _table(item)
        if values.shape[1] != state.width:
            raise Fault(f"{values.shape[1]} numbers in a step; this model reads {state.width}", at=("values",))
        if values.size > MOST:
            raise Fault(
                f"{values.size} numbers in one item; at most {MOST} are taken: send it in parts", at=("values",)
            )
        if np.isnan(values).all():
            raise Fault("every value is null; at least one number is needed", at=("values",))
        series = _series(values, item.timestamps, state, len(values))
        return _example(series, state, times=item.timestamps, flat=item.values.ndim == 1)

    def remarks(self, rows: Mapping[Part, Sequence[Row]], state: State, config: AnomalyConfig) -> list[str]:
        """How many training series show too little to learn from."""
        taught = (_taught(row, state) for row in rows.get("train", ()))
        shown = [int((~np.isnan(values)).any(axis=1).sum()) for values in taught if len(values)]
        least = 2 * FIRST
        short = sum(count < least for count in shown)
        if not short:
            return []
        return [f"{short} of {len(shown)} series show fewer than {least} values to learn from: give longer ones"]

    def probes(self, state: State) -> Sequence[Item]:
        """Short series of the model's width, whole and with a value missing."""
        rising = np.repeat(np.arange(12.0)[:, None], state.width, axis=1)
        gapped = np.where(np.arange(12)[:, None] == 5, np.nan, rising)
        return [Item(values=values[:, 0] if state.width == 1 else values) for values in (rising, gapped)]

    def collate(self, examples: Sequence[Example]) -> Batch:
        reconstructs = "windows" in examples[0].arrays
        detector = DETECTORS["autoencoder" if reconstructs else "predictor"]
        return Batch(arrays=detector.collate(examples), contexts=[example.context for example in examples])

    def predict(self, run: Run, batch: Batch, params: AnomalyParams, state: State) -> list[Output]:
        judged = _judged(run, batch, state)
        return [_output(one, context, params, state) for one, context in zip(judged, batch.contexts, strict=True)]

    def score(self, outputs: Sequence[Output], answers: Sequence[Answer]) -> dict[str, float]:
        """With labels: AUROC, AUPRC and the best F1 over all steps of the part, each step on its own.

        No step is forgiven for lying near a found one ("point adjustment" lets chance look good; Kim et al. 2022).
        """
        found, marked = [], []
        for output, answer in zip(outputs, answers, strict=True):
            if answer.labels is not None:
                found.append(np.array(output.scores)[answer.counted])
                marked.append(answer.labels[answer.counted])
        if not marked:
            return {}
        said, true = np.concatenate(found), np.concatenate(marked)
        if true.all() or not true.any():
            return {}
        return {
            "auroc": scores.auroc(said, true),
            "auprc": scores.average_precision(said, true),
            "best_f1": scores.best_f1(said, true),
        }

    def calibrate(self, run: Run, batches: Sequence[Batch], state: State, answers: Sequence[Sequence[Any]]) -> State:
        """The tails of surprises, stretches and scores, from the steps of the validation part that are not labelled."""
        series = [context.series for batch in batches for context in batch.contexts]
        normal = [a.counted if a.labels is None else a.counted & ~a.labels for each in answers for a in each]
        if state.detector == "autoencoder":
            judged = [one for batch in batches for one in _judged(run, batch, state)]
            errors = [Autoencoder.errors(j, s)[n] for j, s, n in zip(judged, series, normal, strict=True)]
            every = np.concatenate(errors)
            every = every[~np.isnan(every).any(axis=1)]
            if len(every):
                state = state.model_copy(update={"spread": every.mean(axis=0).tolist()})
        judged = [one for batch in batches for one in _judged(run, batch, state)]
        surprises, strains = [one.surprise for one in judged], [one.strain for one in judged]
        unmarked = [np.ones_like(a.counted) if a.labels is None else ~a.labels for each in answers for a in each]
        state = state.model_copy(update={"young": _young(run, series, unmarked, surprises, state)})
        return scoring.calibrated(surprises, strains, normal, state)


MOST = 2_000_000
"""Numbers of one item at most."""


def _table(item: Item) -> np.ndarray:
    """(T, F)"""
    return item.values.reshape(len(item.values), -1)


def _span(row: Row, state: State, part: Part) -> tuple[int, int]:
    """Where the steps of a part lie in a row, from and to before; the first 85 % teach, or 70 % where labels make a
    test worth holding out."""
    total = len(row.values)
    if row.split is not None:
        return (0, total) if row.split == part else (0, 0)
    if state.whole:
        chosen = zlib.crc32(np.ascontiguousarray(row.values).tobytes()) % 20
        own: Part = "train" if chosen < 14 else "validation" if chosen < 17 or row.labels is None else "test"
        return (0, total) if own == part else (0, 0)
    if total < 20:
        return (0, total) if part == "train" else (0, 0)
    first, second = (0.7, 0.85) if row.labels is not None else (0.85, 1.0)
    cuts = {"train": (0.0, first), "validation": (first, second), "test": (second, 1.0)}[part]
    return int(cuts[0] * total), int(cuts[1] * total)


def _taught(row: Row, state: State) -> np.ndarray:
    """(T, F) the training part of a row; what is labelled as an anomaly is missing."""
    start, end = _span(row, state, "train")
    values = _table(row)[start:end].astype(np.float64)
    if row.labels is not None:
        values[np.array(row.labels[start:end], dtype=bool)] = np.nan
    return values


def _levels(taught: Sequence[np.ndarray], width: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """The level and the spread of all series together, per feature; and whether the series agree on them."""
    every = np.concatenate(taught) if taught else np.zeros((1, width))
    every = np.where(np.isnan(every).all(axis=0), 0.0, every)
    location = np.nanmedian(every, axis=0)
    scale = np.nanmean(np.minimum(np.abs(every - location), _reach(every, location)), axis=0)
    scale = np.maximum(scale, 1e-6 * np.abs(location) + 1e-9)
    whole = [values for values in taught if not np.isnan(values).all(axis=0).any()]
    levels = np.array([np.nanmedian(values, axis=0) for values in whole] or [location])
    spreads = np.array([np.nanmean(np.abs(v - m), axis=0) for v, m in zip(whole, levels, strict=False)] or [scale])
    near = np.mean(np.abs(levels - location) <= 2 * scale)
    alike = np.mean((spreads <= 3 * scale) & (spreads >= scale / 3))
    return location, scale, bool(min(near, alike) >= 0.75)


def _reach(values: np.ndarray, location: np.ndarray) -> np.ndarray:
    """(F,) the distance from the level up to which a value counts for the spread: ten times the median one."""
    distance = np.abs(values - location)
    middle = np.nanmedian(distance, axis=0)
    return np.where(middle > 0, 10 * middle, np.inf)


def _series(values: np.ndarray, times: Sequence[datetime] | None, state: State, end: int) -> Series:
    return prepare(
        values[:end],
        None if times is None else times[:end],
        memory=state.memory,
        location=state.location,
        scale=state.scale,
    )


def _windows(taught: np.ndarray, times: Sequence[datetime] | None, state: State) -> Iterator[Example]:
    """Training windows, every fourth of a window one, or as few as are wanted, evenly. Of a series with its own scale
    every other window is read as if it began there: the first steps of a series are learnt as well as the later."""
    total = len(taught)
    width = min(total, state.window)
    whole = _series(taught, times, state, total)
    many = min(state.windows, -(-(total - width) // max(1, width // 4)) + 1)
    starts = np.unique(np.linspace(0, total - width, many).astype(int)).tolist()
    for index, start in enumerate(starts):
        cold = index % 2 and state.location is None
        end = start + width
        window = whole.restarted(start, end, memory=state.memory) if cold else whole.part(start, end)
        if window.known.any():
            all_of_it = np.ones(width, dtype=bool)
            yield _example(window, state, learnt=all_of_it, answer=Answer(counted=all_of_it, labels=None))


def _example(
    series: Series,
    state: State,
    *,
    learnt: np.ndarray | None = None,
    answer: Answer | None = None,
    times: Sequence[datetime] | None = None,
    flat: bool = False,
) -> Example:
    detector = DETECTORS[state.detector]
    arrays = detector.arrays(series, state, learnt)
    context = Context(series=series, times=times, flat=flat)
    return Example(arrays=arrays, length=detector.steps(arrays), answer=answer, context=context)


def _judged(run: Run, batch: Batch, state: State) -> list[Judged]:
    series = [context.series for context in batch.contexts]
    return DETECTORS[state.detector].judge(run, batch.arrays, series, state)


def _young(
    run: Run, series: Sequence[Series], unmarked: Sequence[np.ndarray], surprises: Sequence[np.ndarray], state: State
) -> list[float]:
    """How much more surprising steps are soon after a series begins, at `scoring.AGES`: stretches up to and in the
    validation part judged as if they were whole series, against the same steps judged in theirs."""
    memory = state.memory if state.location is None else None
    places = [
        (at, each, mask)
        for each, mask in zip(series, unmarked, strict=True)
        for at in range(0, max(1, len(mask) - scoring.GROWN // 4), scoring.GROWN // 4)
    ]
    places = places[:: -(-len(places) // COLD)]
    begun = [each.restarted(at, at + scoring.GROWN, memory=memory) for at, each, _ in places]
    batch = CODEC.collate([_example(each, state) for each in begun])
    fresh = [one.surprise for one in _judged(run, batch, state)]
    masks = [mask[at : at + scoring.GROWN] for at, _, mask in places]
    return scoring.youth(fresh, masks, np.concatenate(surprises))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of some steps that were judged."""

    scores: np.ndarray
    """(T,)"""
    flags: np.ndarray
    """(T,) bool"""
    threshold: float
    traces: tuple[np.ndarray, np.ndarray, np.ndarray]
    """(T, F) what was expected, and the values below and above which a step is flagged by itself."""


def found(judged: Judged, params: AnomalyParams, state: State, *, past: Past | None = None, after: int = 0) -> Found:
    """Scores and flags of steps that come `after` so many others, which left `past` behind."""
    usual = scoring.usual(len(judged.surprise), state, after=after)
    scored = scoring.scored(judged.surprise / usual, judged.strain / usual, state, past)
    least = scoring.threshold(params.sensitivity, state)
    reach = scoring.number_of(state.steps, least + scoring.trials(state)) * usual[:, None]
    return Found(
        scores=scored,
        flags=(scored >= least) & ~np.isnan(judged.surprise),
        threshold=least,
        traces=(judged.expected, judged.expected - reach * judged.below, judged.expected + reach * judged.above),
    )


def _output(judged: Judged, context: Context, params: AnomalyParams, state: State) -> Output:
    told = found(judged, params, state)
    expected, lower, upper = ((trace[:, 0] if context.flat else trace).tolist() for trace in told.traces)
    places = scoring.events(told.flags, told.scores, merge=params.merge)
    return Output(
        scores=told.scores.tolist(),
        is_anomaly=told.flags.tolist(),
        events=[_event(*place, told.scores, context.times) for place in places],
        threshold=told.threshold,
        expected=expected,
        lower=lower,
        upper=upper,
        warm_up=judged.warm_up,
    )


def _event(start: int, end: int, peak: int, found: np.ndarray, times: Sequence[datetime] | None) -> Event:
    dated: dict[str, datetime] = {}
    if times is not None:
        dated = {"start_time": times[start], "peak_time": times[peak], "end_time": times[end - 1]}
    return Event(start=start, end=end, peak=peak, score=float(found[peak]), **dated)


CODEC = AnomalyCodec()
