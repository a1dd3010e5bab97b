"""Series to windows, and quantiles of what the network said to values. NumPy only.

B windows, T steps read (padded on the right), F features of a step, h steps ahead, Q levels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from models.batch import Batch, Example, pad
from models.runtimes.run import Run
from models.task import Codec, Fault, Part, Vectors
from models.tasks.forecasting import calendar
from models.tasks.forecasting.prepare import Window, prepare, restored
from models.tasks.forecasting.schema import (
    CARD,
    Dates,
    ForecastingConfig,
    ForecastingParams,
    Item,
    Output,
    Row,
    State,
)

LEVELS = np.array([0.025, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.975])
"""The levels a network learns; those between are interpolated, those beyond follow the outer slope."""
MEDIAN = int(np.searchsorted(LEVELS, 0.5))
WEIGHTS = np.diff(np.concatenate([[0.0], (LEVELS[1:] + LEVELS[:-1]) / 2, [1.0]]))
"""What each level counts in the mean: the probability of what lies nearest to it."""
FEATURES, FACTS = 4, 5
LEAST_PAST = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """What a window's future was: (h',) with NaN where missing, and the error of the seasonal naive before it."""

    values: np.ndarray
    naive_error: float


class ForecastingCodec(Codec[Row, Item, Output, State, ForecastingParams, ForecastingConfig]):
    """One global model over many series of different scale and frequency."""

    card = CARD

    def learn(self, rows: Sequence[Row], config: ForecastingConfig, vectors: Vectors | None = None) -> State:
        series = [_array(row.values) for row in rows]
        horizon = config.horizon or max((_ahead(row) for row in rows), default=12)
        seasons = [config.season or calendar.season(row.freq) for row in rows]
        longest = max(seasons, default=1)
        look_back = config.look_back or int(np.clip(2 * longest, max(12, horizon), 200))
        whole = [values[~np.isnan(values)] for values in series]
        positive = float(np.mean([bool(len(v)) and bool((v > 0).all()) for v in whole])) if whole else 0.0
        state = State(
            horizon=horizon,
            look_back=look_back,
            season=config.season,
            adjust=config.adjust == "classical",
            log=positive > 0.5,
            scale=0.1,
            windows=max(1, config.windows // max(1, len(rows))),
        )
        chosen = _judged(rows, state) if config.adjust == "auto" else state
        steps = [w.scale for row in rows[:500] if (w := _window(row, _array(row.values), chosen)) is not None]
        return chosen.model_copy(update={"scale": float(np.median(steps)) if steps else 0.1})

    def examples(self, row: Row, state: State, config: ForecastingConfig, part: Part) -> Iterator[Example]:
        values = _array(row.values)
        ahead = min(state.horizon, config.horizon or _ahead(row))
        if part == "test" and row.test_values:
            future = _array(row.test_values)[: state.horizon]
            yield from _examples(row, np.concatenate([values, future]), [len(values)], len(future), state)
            return
        n = len(values)
        if row.split == part and part != "train":
            yield from _examples(
                row, values, list(range(max(1, n // 4), n - ahead + 1, max(1, ahead // 4))), ahead, state
            )
            return
        if row.split is not None and row.split != part:
            return
        # A series that names no part: its last steps are validation, a twentieth where it is long.
        held = 0 if row.split == "train" else min(max(ahead, n // 20), n - LEAST_PAST)
        if part == "validation" and held > 0:
            yield from _examples(row, values, list(range(n - held, n - min(ahead, held) + 1, ahead)), ahead, state)
        elif part == "train":
            last = n - max(0, held) if n - held > LEAST_PAST else n
            origins = range(last - 1, LEAST_PAST - 1, -1)
            cut = values[:last]
            yield from _examples(row, cut, list(origins[: state.windows]), state.horizon, state)

    def remarks(self, rows: Mapping[Part, Sequence[Row]], state: State, config: ForecastingConfig) -> list[str]:
        """How many training series are too short to show a whole window with all of its future."""
        series = [row for row in rows.get("train", ()) if row.split in (None, "train")]
        whole = state.look_back + state.horizon
        short = [len(row.values) for row in series if len(row.values) < whole]
        empty = sum(bool(np.isnan(row.values).all()) for row in series)
        if empty:
            return [f"{empty} of {len(series)} training series hold no value at all: leave them out"]
        if not short:
            return []
        told = f"{len(short)} of {len(series)} training series are shorter than look_back + horizon = {whole} steps"
        if min(short) <= LEAST_PAST:
            return [f"{told}: give longer ones"]
        if min(short) <= state.horizon:
            return [f"{told}: give longer ones, or set `horizon` below {min(short)}, the length of the shortest"]
        return [f"{told} and never fill a window: set `look_back` to {min(short) - state.horizon}, or give longer ones"]

    def example(self, item: Item, params: ForecastingParams, state: State, config: ForecastingConfig) -> Example:
        self.check(params, state)
        found = self.read(_array(item.values), item, params, state, count=len(item.values))
        if found is None:
            raise Fault("every value is null; at least one number is needed", at=("values",))
        return found

    def check(self, params: ForecastingParams, state: State) -> None:
        """Raises `Fault` where more is asked for than was learnt."""
        if params.horizon is not None and params.horizon > state.horizon:
            raise Fault(
                f"a horizon of {params.horizon} is beyond the {state.horizon} steps this model has learnt",
                at=("horizon",),
                of="params",
            )

    def read(
        self, past: np.ndarray, dates: Dates | Item, params: ForecastingParams, state: State, *, count: int
    ) -> Example | None:
        """The example of a past (n,) that ends with the `count`-th value of its series; None where it holds no value.
        Raises `Fault` where the forecast's times cannot be told."""
        window = _window(dates, past, state)
        if window is None:
            return None
        times = None
        if dates.start is not None and dates.freq is not None:
            try:
                many = params.horizon or state.horizon
                times = calendar.following(dates.start, dates.freq, skip=count, count=many)
            except OverflowError:
                raise Fault("the forecast would end beyond the year 9999", at=("start",)) from None
        return _example(window, context=(window, times))

    def collate(self, examples: Sequence[Example]) -> Batch:
        arrays = {name: pad([example.arrays[name] for example in examples]) for name in examples[0].arrays}
        arrays["lengths"] = np.array([example.length for example in examples], dtype=np.int64)
        return Batch(arrays=arrays, contexts=[example.context for example in examples])

    def predict(self, run: Run, batch: Batch, params: ForecastingParams, state: State) -> list[Output]:
        said = run("forward", batch.arrays)["quantiles"]
        many = params.horizon or state.horizon
        return _outputs(said[:, :many], batch.contexts, params)

    def score(self, outputs: Sequence[Output], answers: Sequence[Answer]) -> dict[str, float]:
        """MASE (Hyndman and Koehler 2006) of the median, and the mean absolute error of it over all steps."""
        scaled, errors = [], []
        for output, answer in zip(outputs, answers, strict=True):
            median = np.array(output.quantiles["0.5"])[: len(answer.values)]
            error = np.abs(median - answer.values)
            if np.isnan(error).all():
                continue
            errors.append(float(np.nanmean(error)))
            if answer.naive_error > 0:
                scaled.append(errors[-1] / answer.naive_error)
        mean = float(np.mean(errors)) if errors else 0.0
        return {"mase": float(np.mean(scaled)) if scaled else mean, "mae": mean}


def _array(values: Sequence[float | None] | np.ndarray) -> np.ndarray:
    """(n,), NaN where missing."""
    return np.asarray(values, dtype=np.float64)


def _ahead(row: Row) -> int:
    return len(row.test_values) if row.test_values else calendar.horizon(row.freq)


def _window(dates: Dates | Item, past: np.ndarray, state: State) -> Window | None:
    """The prepared window of a past, None where it holds no value."""
    season = state.season or calendar.season(dates.freq)
    if np.isnan(past[-state.look_back :]).all():
        known = np.flatnonzero(~np.isnan(past))
        if not len(known):
            return None
        # Too long ago to read: taken as if it were just now, at the same point of the season.
        gap = len(past) - 1 - int(known[-1])
        past = past[: len(past) - gap + gap % season]
    return prepare(
        past,
        season=season,
        look_back=state.look_back,
        horizon=state.horizon,
        log=state.log,
        adjust=state.adjust,
        scale=state.scale,
    )


def _judged(rows: Sequence[Row], state: State) -> State:
    """Whether taking the season out helps: the naive forecast of each series' last steps, with and without."""
    errors = []
    for adjust in (False, True):
        tried = state.model_copy(update={"adjust": adjust})
        error = 0.0
        for row in rows[:1000]:
            values = _array(row.values)
            ahead = min(_ahead(row), len(values) // 3)
            window = _window(row, values[: len(values) - ahead], tried) if ahead else None
            if window is not None:
                flat = restored([window], np.zeros((1, min(ahead, state.horizon), 1)))[0, :, 0]
                future = values[len(values) - ahead :][: len(flat)]
                naive = _naive_error(values[: len(values) - ahead], window.season)
                if naive > 0 and not np.isnan(future).all():
                    error += float(np.nanmean(np.abs(future - flat))) / naive
        errors.append(error)
    return state.model_copy(update={"adjust": errors[1] < 0.98 * errors[0]})


def _naive_error(past: np.ndarray, season: int) -> float:
    """Mean absolute error of the seasonal naive within a past; 0 where it cannot be told."""
    return NaiveErrors(past, season).before(len(past))


class NaiveErrors:
    """The mean absolute errors of the seasonal naive before any moment of a series, from one pass over it."""

    def __init__(self, values: np.ndarray, season: int) -> None:
        self.season = season
        self.sums = {lag: self._summed(values, lag) for lag in {season, 1}}

    def before(self, origin: int) -> float:
        """The error within the first `origin` values; 0 where it cannot be told."""
        lag = self.season if origin > self.season else 1
        total, count = self.sums[lag][:, max(0, origin - lag)]
        return float(total / count) if count else 0.0

    @staticmethod
    def _summed(values: np.ndarray, lag: int) -> np.ndarray:
        """(2, n - lag + 1): what the errors and their count add up to, from none on."""
        steps = np.abs(values[lag:] - values[:-lag])
        there = ~np.isnan(steps)
        summed = np.cumsum(np.stack([np.where(there, steps, 0.0), there]), axis=1)
        return np.concatenate([np.zeros((2, 1)), summed], axis=1)


def _examples(row: Row, values: np.ndarray, origins: Sequence[int], ahead: int, state: State) -> Iterator[Example]:
    errors = NaiveErrors(values, state.season or calendar.season(row.freq))
    for origin in origins:
        past, future = values[:origin], values[origin : origin + ahead]
        if origin < 1 or np.isnan(future).all():
            continue
        window = _window(row, past, state)
        if window is None:
            continue
        target = np.full(state.horizon, np.nan, dtype=np.float32)
        target[: len(future)] = window.scaled(future)
        answer = Answer(future, errors.before(origin))
        yield _example(window, target=target, answer=answer, context=(window, None))


def _example(
    window: Window, *, target: np.ndarray | None = None, answer: Answer | None = None, context: object = None
) -> Example:
    length = len(window.values)
    features = np.empty((length, FEATURES), dtype=np.float32)
    features[:, 0], features[:, 1] = window.values, window.present
    features[:, 2:] = _phases(length, window.season)
    scale = math.log(window.scale + 1e-9) / 5
    facts = [math.log1p(window.season) / 5, window.strength, scale, length / 100, window.log]
    arrays = {"values": features, "facts": np.array([min(max(fact, -5), 5) for fact in facts], dtype=np.float32)}
    if target is not None:
        arrays["target"] = target
    return Example(arrays=arrays, length=length, answer=answer, context=context)


def _outputs(
    said: np.ndarray, contexts: Sequence[tuple[Window, list[str] | None]], params: ForecastingParams
) -> list[Output]:
    """said (B, h, Q), rising along Q."""
    values = restored([window for window, _ in contexts], said)
    means = (values @ WEIGHTS).tolist()
    levels = {f"{level:g}": _at(values, level).tolist() for level in sorted(set(params.quantiles))}
    return [
        Output(mean=mean, quantiles={level: found[index] for level, found in levels.items()}, timestamps=times)
        for index, (mean, (_, times)) in enumerate(zip(means, contexts, strict=True))
    ]


def _at(values: np.ndarray, level: float) -> np.ndarray:
    """The quantile at a level, (B, h): between the learnt ones by a line, beyond them along the outer two's."""
    upper, share = _between(level)
    at: np.ndarray = values[..., upper - 1] + share * (values[..., upper] - values[..., upper - 1])
    return at


@lru_cache(maxsize=256)
def _phases(length: int, season: int) -> np.ndarray:
    """Where in the season each step of a window stands, (T, 2): sine and cosine; zeros where there is no season."""
    phase = 2 * np.pi * np.arange(-length, 0) / season
    return np.stack([np.sin(phase), np.cos(phase)], axis=1).astype(np.float32) * (season > 1)


@lru_cache(maxsize=1024)
def _between(level: float) -> tuple[int, float]:
    """The learnt level above one, and how far it lies from that below."""
    upper = int(np.clip(np.searchsorted(LEVELS, level), 1, len(LEVELS) - 1))
    return upper, float((level - LEVELS[upper - 1]) / (LEVELS[upper] - LEVELS[upper - 1]))


CODEC = ForecastingCodec()
