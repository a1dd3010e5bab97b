"""Nixtla's TimeGPT API, as `NixtlaClient(base_url=...)` speaks it: many series in one flat list. Knows no network.

What these models cannot do (exogenous features, fine-tuning while it forecasts) is refused in a sentence.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Annotated, Any, Self, TypeVar

import orjson
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.api.problems import responses
from app.api.protocols.asked import Bearing, Call, Shape, documented, refused, shaped
from app.errors import Flaw, Invalid, NotFound, TooLarge
from models import catalog
from models.tasks.forecasting.calendar import season
from models.tasks.forecasting.prepare import reach

PREFIX = "/compat/timegpt"
FORECASTING, ANOMALY = "forecasting", "anomaly"
PERCENTILE = 99.0
"""Percentile of held-out steps at which a detector's threshold lies unless its training was told another."""

router = APIRouter(prefix=PREFIX, tags=["timegpt"])

Number = Annotated[float, Field(ge=-1e15, le=1e15)]


class Closed(BaseModel):
    """A shape with no other fields."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Many(Closed):
    """Series one after the other."""

    y: list[Number | None] = Field(min_length=1, max_length=1_000_000, description="The values of all series.")
    sizes: list[Annotated[int, Field(ge=1)]] = Field(min_length=1, description="How many of them each series has.")
    X: list[Any] | None = Field(None, description="Refused: no model here reads other features.")
    X_future: list[Any] | None = None
    categorical_exog: list[int] | None = None
    start_datetime: list[datetime] | None = Field(None, description="The time of each series' first value; not read.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if sum(self.sizes) != len(self.y):
            raise ValueError(f"`sizes` add up to {sum(self.sizes)} but `y` has {len(self.y)} values")
        if self.X or self.X_future:
            raise ValueError("no model here reads exogenous features: leave `X` and `X_future` out")
        return self

    def each(self) -> Iterator[list[float | None]]:
        """The values of one series after the other."""
        end = 0
        for size in self.sizes:
            yield self.y[end : end + size]
            end += size


class Asked(Closed):
    """What both routes are asked."""

    series: Many
    model: str = Field("timegpt-1", max_length=140, description="A model reference; any `timegpt-...` is the default.")
    freq: str = Field(max_length=20)
    finetuned_model_id: str | None = Field(
        None, max_length=140, description="A model reference as well; it goes first."
    )
    clean_ex_first: bool | None = Field(None, description="Of exogenous features alone, so it changes nothing.")
    multivariate: bool | None = None

    @model_validator(mode="after")
    def _univariate(self) -> Self:
        if self.multivariate:
            raise ValueError("each series is read by itself: leave `multivariate` false")
        return self


Body = TypeVar("Body", bound=Asked)


class Forecasting(Asked):
    """The body of a forecast."""

    h: int = Field(ge=1, le=10_000, description="Steps ahead; the model's horizon at most.")
    level: list[Annotated[float, Field(ge=0, le=99.99)]] | None = Field(
        None, max_length=49, description="Widths of intervals in percent."
    )
    finetune_steps: int = Field(0, ge=0)
    finetune_depth: int | None = Field(None, description="Of fine-tuning alone, so it changes nothing.")
    finetune_loss: str | None = Field(None, description="As `finetune_depth`.")
    feature_contributions: bool | None = None
    feature_contributions_type: str | None = None
    model_parameters: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.finetune_steps:
            raise ValueError("a model learns in a job (POST /v1/jobs), not while it forecasts: `finetune_steps` is 0")
        if self.feature_contributions:
            raise ValueError("no model here reads features that could contribute: leave `feature_contributions` false")
        if self.model_parameters:
            raise ValueError("a model's parameters are set when it learns: leave `model_parameters` out")
        return self


class Detecting(Asked):
    """The body of a detection."""

    level: Annotated[float, Field(gt=0, le=99.99)] = Field(99.0, description="Percent of normal steps not flagged.")


class Counted(BaseModel):
    """What every answer counts."""

    input_tokens: int = Field(description="Values that were sent.")
    output_tokens: int = Field(description="Values that are answered.")
    finetune_tokens: int = 0
    weights_x: list[float] | None = None
    feature_contributions: list[list[float]] | None = None


class Forecast(Counted):
    """The future of all series, one after the other."""

    mean: list[float]
    intervals: dict[str, list[float]] | None = Field(description="`lo-90` and `hi-90` of each level.")


class Detected(Counted):
    """Every step of all series, judged."""

    sizes: list[int]
    mean: list[float] = Field(description="What would have been normal.")
    intervals: dict[str, list[float]] | None
    anomaly: list[bool] = Field(description="Whether a value lies outside of its interval.")


class Detail(BaseModel):
    """What Nixtla wraps a word in."""

    detail: Any


@router.get("/validate_api_key", responses=responses(under=PREFIX))
async def validate_api_key(call: Bearing) -> Detail:
    """Whether the key may predict."""
    return Detail(detail="the key is valid")


@router.get("/model_params", responses=responses(404, 504, under=PREFIX))
async def model_params(
    call: Bearing, model: Annotated[str, Query(max_length=140)], freq: Annotated[str, Query(max_length=20)]
) -> Detail:
    """How much of a series the model reads at most, and how far ahead it looks: the client asks before it forecasts."""
    named = _named(model)
    try:
        served = await (call.served(named) if named else call.default(FORECASTING))
    except NotFound:
        if named is not None:
            raise
        served = await call.default(ANOMALY)
    state: Any = served.predictor.state
    if served.version.task != FORECASTING:
        return Detail(detail={"input_size": getattr(state, "window", 1), "horizon": 1})
    try:
        length = state.season or season(freq)
    except ValueError as error:
        raise Invalid(str(error), errors=[Flaw(detail=str(error), pointer="/freq")]) from None
    return Detail(detail={"input_size": reach(state.look_back, length), "horizon": state.horizon})


SERIES = {"y": [112, 118, 132, 129, 121, 135, 148, 148, 136, 119, 104, 118], "sizes": [12]}
FUTURE = {"series": SERIES, "freq": "MS", "h": 3, "level": [80]}
ODD = {"series": SERIES, "freq": "MS", "level": 99}


@router.post(
    "/v2/forecast",
    response_model=Forecast,
    responses=responses(404, 504, under=PREFIX),
    openapi_extra=documented(Forecasting, FUTURE),
)
async def forecast(call: Bearing) -> Response:
    """The future of each series: the mean, and an interval for each level."""
    parse = _reader(call, Forecasting)
    asked, items = await call.read(lambda sent: _with_items(FORECASTING, parse(sent)))
    return await call.answer(_forecast(call, asked, items))


@router.post(
    "/v2/anomaly_detection",
    response_model=Detected,
    responses=responses(404, 504, under=PREFIX),
    openapi_extra=documented(Detecting, ODD),
)
async def anomaly_detection(call: Bearing) -> Response:
    """Each step of each series: what would have been normal, and whether it lies outside of that."""
    parse = _reader(call, Detecting)
    asked, items = await call.read(lambda sent: _with_items(ANOMALY, parse(sent)))
    return await call.answer(_detected(call, asked, items))


async def _forecast(call: Call, asked: Forecasting, items: list[Any]) -> Response:
    levels = asked.level or []
    bounds = {f"{side}-{level:g}": _share(side, level) for level in levels for side in ("lo", "hi")}
    quantiles = sorted(set(bounds.values())) or None
    params = {"horizon": asked.h, "quantiles": quantiles}
    outputs = await call.outputs(FORECASTING, items, model=_model(asked), params=params)
    return _answer(
        asked,
        mean=[value for output in outputs for value in output.mean],
        intervals={
            bound: [value for output in outputs for value in output.quantiles[f"{share:g}"]]
            for bound, share in bounds.items()
        },
    )


async def _detected(call: Call, asked: Detecting, items: list[Any]) -> Response:
    model = _model(asked)
    served = await call.default(ANOMALY, model)
    percentile = served.version.config.get("percentile", PERCENTILE)
    params = {"sensitivity": _sensitivity(asked.level, percentile), "merge": 0}
    outputs = await call.outputs(ANOMALY, items, model=model, params=params)

    def flat(trace: str) -> list[Any]:
        return [value for output in outputs for value in getattr(output, trace)]

    low, high = flat("lower"), flat("upper")
    return _answer(
        asked,
        mean=flat("expected"),
        intervals={f"lo-{asked.level:g}": low, f"hi-{asked.level:g}": high},
        anomaly=[y is not None and not lo <= y <= hi for y, lo, hi in zip(asked.series.y, low, high, strict=True)],
        sizes=asked.series.sizes,
    )


def _share(side: str, level: float) -> float:
    """The quantile at an end of an interval that holds so many percent."""
    return round(0.5 + (level if side == "hi" else -level) / 200, 6)


def _sensitivity(level: float, percentile: float) -> float:
    """What flags one normal step in 100 at level 99: our sensitivity of 0.95 does so at the model's percentile, and
    scales the odds of a flag by s / (1 - s) / 19."""
    wanted, usual = ((100 - share) / share for share in (level, percentile))
    odds = 19 * wanted / usual
    return odds / (1 + odds)


def _with_items(task: str, asked: Body) -> tuple[Body, list[Any]]:
    """A body, and each of its series as an item. Raises `RequestValidationError`."""
    card, made = catalog.card(task), []
    freq = {"freq": asked.freq} if "freq" in card.fields else {}
    for values in asked.series.each():
        item = {"values": values, **freq}
        try:
            made.append(card.parse_item(item))
        except ValidationError as error:
            raise refused(error, "body", body=item) from None
    return asked, made


def _answer(asked: Asked, *, mean: list[float], intervals: dict[str, list[float]], **others: Any) -> Response:
    counted = Counted(input_tokens=len(asked.series.y), output_tokens=len(mean)).model_dump()
    body = {"mean": mean, "intervals": intervals or None, **others, **counted}
    return Response(orjson.dumps(body), media_type="application/json")


def _model(asked: Asked) -> str | None:
    return _named(asked.finetuned_model_id or asked.model)


def _named(model: str) -> str | None:
    """The reference of a model of ours; None for one of Nixtla's, in whose place the task's default answers."""
    return None if model == "azureai" or model.startswith("timegpt-") else model


def _reader(call: Call, shape: type[Shape]) -> Callable[[bytes], Shape]:
    """What reads a body, which clients compress where it is large."""
    parse, packed = shaped(shape), call.request.headers.get("content-encoding", "").strip().lower()
    if packed in ("", "identity"):
        return parse
    if packed != "zstd":
        raise Invalid(f"the body is encoded as {packed[:20]!r}; zstd is known here")
    most = call.use.settings.max_json
    return lambda sent: parse(_unpacked(sent, most))


def _unpacked(sent: bytes, most: int) -> bytes:
    """Raises `Invalid`, and `TooLarge` before more than `most` bytes are made."""
    zstandard = importlib.import_module("zstandard")
    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(sent) as reader:
            whole: bytes = reader.read(most + 1)
    except zstandard.ZstdError:
        raise Invalid("the body is not what zstd makes") from None
    if len(whole) > most:
        raise TooLarge(f"the body may have {most} bytes at most")
    return whole
