"""Azure's Anomaly Detector v1.1, univariate: one series with times, judged by the default model of anomaly.

Knows points and margins, no network. The service it stands in for was retired by its owner in 2026.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import orjson
from fastapi import APIRouter, Depends, Request, Response, Security
from fastapi.security import APIKeyHeader
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from app.api.deps import bearer
from app.api.problems import responses
from app.api.protocols.asked import Call, Deadline, called, documented, shaped
from app.api.protocols.grid import Fill, Grid, Uneven, even
from app.errors import Flaw, Invalid
from models import catalog
from models.period import period
from models.tasks.anomaly.schema import Moment

PREFIX = "/compat/anomalydetector"
TASK = "anomaly"
FEWEST, MOST = 12, 8640
"""Points of a series."""
WINDOW = 29
"""Points that are suggested for judging the last one where nothing recurs; else four periods and the last."""
KEY = APIKeyHeader(name="Ocp-Apim-Subscription-Key", auto_error=False, description="The same key, as Azure sends it.")

router = APIRouter(prefix=f"{PREFIX}/v1.1/timeseries", tags=["anomaly detector"])

Granularity = Literal[
    "yearly", "monthly", "weekly", "daily", "hourly", "minutely", "secondly", "microsecond", "none"
]  # fmt: skip


async def _calling(
    request: Request,
    key: Annotated[str | None, Security(KEY)] = None,
    _: Annotated[Any, Security(bearer)] = None,
    deadline: Deadline = None,
) -> Call:
    return await called(request, key, deadline)


Calling = Annotated[Call, Depends(_calling)]


class Closed(BaseModel):
    """A shape with no other fields, whose names begin small and go on with capitals."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, alias_generator=to_camel, populate_by_name=True)


class Point(Closed):
    """One value, and its time."""

    timestamp: Moment | None = None
    value: float = Field(ge=-1e15, le=1e15)


class Asked(Closed):
    """What every route is asked."""

    series: list[Point] = Field(min_length=FEWEST, max_length=MOST, description="In the order of their times.")
    granularity: Granularity = "none"
    custom_interval: int | None = Field(None, ge=1, le=999, description="How many of them from one point to the next.")
    period: int | None = Field(None, ge=0, le=MOST, description="Steps of the season; found by itself where left out.")

    @property
    def fill(self) -> Fill:
        """How gaps are filled."""
        return "auto"

    @property
    def fixed(self) -> float | None:
        """With what. Raises `Invalid`."""
        return None

    def grid(self) -> Grid:
        """The series step by step. Raises `Invalid`."""
        times = [point.timestamp for point in self.series if point.timestamp is not None]
        try:
            if self.granularity != "none" and len(times) < len(self.series):
                raise Uneven(f"{len(self.series) - len(times)} points have no timestamp; granularity 'none' needs none")
            return even(
                [point.value for point in self.series],
                times if self.granularity != "none" else None,
                step=self.granularity,
                many=self.custom_interval or 1,
                fill=self.fill,
                fixed=self.fixed,
                most=MOST,
            )
        except Uneven as error:
            raise Invalid(str(error), errors=[Flaw(detail=str(error), pointer="/series")]) from None


class Detecting(Asked):
    """The body of `entire` and `last`."""

    max_anomaly_ratio: float = Field(0.25, gt=0, lt=0.5, description="The oddest so many are told at most.")
    sensitivity: int = Field(95, ge=0, le=99, description="Higher flags no less; 95 is the model's own threshold.")
    impute_mode: Fill | None = Field(None, description="How gaps are filled; `auto` leaves them to the model.")
    impute_fixed_value: float | None = Field(None, ge=-1e15, le=1e15)

    @property
    def fill(self) -> Fill:
        return self.impute_mode or "auto"

    @property
    def fixed(self) -> float | None:
        if self.impute_mode == "fixed" and self.impute_fixed_value is None:
            detail = "imputeMode 'fixed' needs `imputeFixedValue`"
            raise Invalid(detail, errors=[Flaw(detail=detail, pointer="/imputeFixedValue")])
        return self.impute_fixed_value


class Changing(Asked):
    """The body of `changepoint`."""

    granularity: Granularity
    stable_trend_window: int = Field(5, ge=2, le=1000, description="Steps that must stay where the first one went.")
    threshold: float = Field(0.9, gt=0, lt=1, description="Lower takes fewer for a change.")


class Answered(Closed):
    """What an answer about anomalies holds."""

    period: int = Field(description="0 where nothing recurs.")


class Entire(Answered):
    """Every point judged. A boundary lies `100 - sensitivity` margins from the expected value."""

    expected_values: list[float]
    upper_margins: list[float]
    lower_margins: list[float]
    is_anomaly: list[bool]
    is_negative_anomaly: list[bool]
    is_positive_anomaly: list[bool]
    severity: list[float] = Field(description="Of the held-out steps that are flagged, the share that is less odd.")


class Last(Answered):
    """The last point judged."""

    suggested_window: int
    expected_value: float
    upper_margin: float
    lower_margin: float
    is_anomaly: bool
    is_negative_anomaly: bool
    is_positive_anomaly: bool
    severity: float


class Changes(Answered):
    """Where the series goes elsewhere and stays."""

    is_change_point: list[bool]
    confidence_scores: list[float] = Field(description="Share of the held-out steps that are less odd; 0 elsewhere.")


POINTS = [
    {"timestamp": f"2024-01-01T{hour:02}:00:00Z", "value": value}
    for hour, value in enumerate([20.1, 20.4, 20.9, 20.6, 20.2, 19.8, 19.9, 20.3, 35.0, 20.7, 20.4, 20.0])
]
EXAMPLE = {"series": POINTS, "granularity": "hourly", "sensitivity": 95}
CHANGING = {"series": POINTS, "granularity": "hourly", "threshold": 0.9}
ERRORS = responses(404, 409, 504, under=PREFIX)


@router.post("/entire/detect", response_model=Entire, responses=ERRORS, openapi_extra=documented(Detecting, EXAMPLE))
async def entire(call: Calling) -> Response:
    """Every point of a series: expected value, margins, and whether it is an anomaly."""
    asked = await call.read(shaped(Detecting))
    return await call.answer(_entire(call, asked))


@router.post("/last/detect", response_model=Last, responses=ERRORS, openapi_extra=documented(Detecting, EXAMPLE))
async def last(call: Calling) -> Response:
    """The last point of a series."""
    asked = await call.read(shaped(Detecting))
    return await call.answer(_last(call, asked))


@router.post(
    "/changepoint/detect", response_model=Changes, responses=ERRORS, openapi_extra=documented(Changing, CHANGING)
)
async def changepoint(call: Calling) -> Response:
    """Where a series goes elsewhere and stays there."""
    asked = await call.read(shaped(Changing))
    return await call.answer(_changepoint(call, asked))


async def _entire(call: Call, asked: Detecting) -> Response:
    found = await _judged(call, asked)
    return Response(orjson.dumps(found.model_dump(by_alias=True)), media_type="application/json")


async def _last(call: Call, asked: Detecting) -> Response:
    found = await _judged(call, asked)
    answer = Last(
        period=found.period,
        suggested_window=4 * found.period + 1 if found.period else WINDOW,
        expected_value=found.expected_values[-1],
        upper_margin=found.upper_margins[-1],
        lower_margin=found.lower_margins[-1],
        is_anomaly=found.is_anomaly[-1],
        is_negative_anomaly=found.is_negative_anomaly[-1],
        is_positive_anomaly=found.is_positive_anomaly[-1],
        severity=found.severity[-1],
    )
    return Response(orjson.dumps(answer.model_dump(by_alias=True)), media_type="application/json")


async def _changepoint(call: Call, asked: Changing) -> Response:
    grid = asked.grid()
    params = {"sensitivity": asked.threshold, "merge": asked.stable_trend_window}
    output = await _output(call, grid, params)
    season = _period(asked, grid)
    confidences = np.zeros(len(grid.values))
    for at in changes(grid.values, output, window=asked.stable_trend_window, season=season):
        confidences[at] = 1 - 10.0 ** -max(output.scores[at : at + asked.stable_trend_window])
    told = grid.told(confidences.tolist())
    answer = Changes(period=season, is_change_point=(told > 0).tolist(), confidence_scores=told.tolist())
    return Response(orjson.dumps(answer.model_dump(by_alias=True)), media_type="application/json")


async def _judged(call: Call, asked: Detecting) -> Entire:
    grid = asked.grid()
    output = await _output(call, grid, {"sensitivity": asked.sensitivity / 100})
    expected, lower, upper, scores = (
        grid.told(trace) for trace in (output.expected, output.lower, output.upper, output.scores)
    )
    values = np.array([point.value for point in asked.series])
    flags = _oddest(grid.told(output.is_anomaly), scores, most=int(asked.max_anomaly_ratio * len(values)))
    margins = 100 - asked.sensitivity
    return Entire(
        period=_period(asked, grid),
        expected_values=expected.tolist(),
        upper_margins=((upper - expected) / margins).tolist(),
        lower_margins=((expected - lower) / margins).tolist(),
        is_anomaly=flags.tolist(),
        is_negative_anomaly=(flags & (values < expected)).tolist(),
        is_positive_anomaly=(flags & (values > expected)).tolist(),
        severity=np.where(flags, 1 - 10.0 ** np.minimum(0.0, output.threshold - scores), 0.0).tolist(),
    )


async def _output(call: Call, grid: Grid, params: dict[str, Any]) -> Any:
    item = catalog.card(TASK).parse_item({"values": grid.values, "timestamps": grid.times})
    (output,) = await call.outputs(TASK, [item], model=None, params=params)
    return output


def _period(asked: Asked, grid: Grid) -> int:
    return period(grid.values) if asked.period is None else asked.period


def _oddest(flags: np.ndarray, scores: np.ndarray, *, most: int) -> np.ndarray:
    """(N,) bool: the flags with the highest scores, `most` of them."""
    at = np.flatnonzero(flags)
    kept = np.zeros(len(flags), dtype=bool)
    kept[at[np.argsort(-scores[at], kind="stable")[:most]]] = True
    return kept


def changes(values: np.ndarray, output: Any, *, window: int, season: int) -> list[int]:
    """Of each alarm the first flagged step, if any, from which the series stays outside of what was expected of it: so
    does its value, and on the same side the median of `window` values, each less what its season moved by since."""
    flags = np.asarray(output.is_anomaly)
    alarms = [event.start + np.flatnonzero(flags[event.start : event.end]) for event in output.events]
    lasting = ((at for at in alarm.tolist() if _lasts(values, output, at, window, season)) for alarm in alarms)
    return [first for first in (next(each, None) for each in lasting) if first is not None]


def _lasts(values: np.ndarray, output: Any, at: int, window: int, season: int) -> bool:
    moved = np.zeros(window)
    if 0 < season <= at:
        moved = values[at - season + np.arange(window) % season] - values[at - season]
    stretch = values[at : at + window]
    if len(stretch) < window or np.isnan(stretch - moved).all():
        return False
    both = float(values[at]), float(np.nanmedian(stretch - moved))
    low, high = float(output.lower[at]), float(output.upper[at])
    return max(both) < low or min(both) > high
