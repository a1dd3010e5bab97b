"""What may be asked about the odd steps of a series, and what is answered. Pydantic only.

T steps of a series, F numbers of a step.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from models.arrays import Number, Numbers
from models.task import Card, Config, Params, Part, Schema, StepCard
from models.tasks.anomaly.tables import SeriesTally, table

LONGEST = 500_000
"""Steps of one item at most; a longer series is sent in parts."""


def _utc(moment: datetime) -> datetime:
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"'{moment.isoformat()}' lies outside of the years 1 to 9999 in UTC") from None


Series = Annotated[np.ndarray, Numbers(axes=(1, 2), missing=True, most_steps=LONGEST, most_width=512)]
Moment = Annotated[datetime, AfterValidator(_utc)]
Trace = list[float] | list[list[float]]


class Item(Schema):
    """A series, whole or up to now. A bare list of values is one, too."""

    values: Series = Field(description="A number a step, or F numbers a step; null where a value is missing.")
    timestamps: Annotated[list[Moment], Field(fail_fast=True)] | None = Field(
        default=None, description="The time of each step: tells the hour and the weekday, and dates the events."
    )

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, given: Any) -> Any:
        return {"values": given} if isinstance(given, list) else given

    @model_validator(mode="after")
    def _timed(self) -> Self:
        if self.timestamps is not None and len(self.timestamps) != len(self.values):
            raise ValueError(f"{len(self.values)} values but {len(self.timestamps)} timestamps")
        return self


class Row(Item):
    """A series to learn from. Labels are never learnt: they judge, and what they mark is left out of learning."""

    labels: list[Annotated[int, Field(ge=0, le=1)]] | None = Field(
        default=None, description="1 where a step is known to be an anomaly, else 0."
    )
    id: str | None = Field(default=None, max_length=200)
    split: Part | None = None

    @model_validator(mode="after")
    def _labelled(self) -> Self:
        if self.labels is not None and len(self.labels) != len(self.values):
            raise ValueError(f"{len(self.values)} values but {len(self.labels)} labels")
        return self


class AnomalyParams(Params):
    """Options of one request."""

    sensitivity: float = Field(
        0.95,
        ge=0,
        le=1,
        description="Higher flags no less. At 0.95 the threshold is the model's `percentile` of the scores of "
        "held-out steps; else the odds of a step above it are those times s / (1 - s) / 19.",
    )
    merge: int = Field(50, ge=0, le=100_000, description="Flags with at most so many steps between them are one event.")


class Event(Schema):
    """One alarm, however many steps it lasts."""

    start: int = Field(ge=0, description="The first flagged step.")
    end: int = Field(ge=1, description="The step after the last flagged one.")
    peak: int = Field(ge=0, description="The step with the highest score.")
    score: float = Field(description="The score of the peak.")
    start_time: datetime | None = Field(default=None, description="Time of `start`, where timestamps were given.")
    peak_time: datetime | None = Field(default=None, description="Time of `peak`, where timestamps were given.")
    end_time: datetime | None = Field(
        default=None, description="Time of the last flagged step, where timestamps were given."
    )


class Output(Schema):
    """Every step judged. The numbers of `expected`, `lower` and `upper` are per feature where `values` are."""

    scores: list[float] = Field(
        description="How odd each step is: 2 = one held-out step in 100 is as odd, 3 = one in 1000. 0 where missing."
    )
    is_anomaly: list[bool] = Field(description="Whether the score reaches the threshold; never where missing.")
    events: list[Event] = Field(description="The flagged steps as alarms, in order.")
    threshold: float = Field(description="The least score that is flagged, by `sensitivity`.")
    expected: Trace = Field(description="The value that would have been normal.")
    lower: Trace = Field(description="A value below is flagged by itself.")
    upper: Trace = Field(description="A value above is flagged by itself.")
    warm_up: int = Field(ge=0, description="The first so many steps were judged with less context than the others.")


class Step(Schema):
    """One further step of a series. A bare number or null is its `value`, a bare list its `values`."""

    value: Number | None = Field(default=None, description="Of a series of one number a step; null where missing.")
    values: Annotated[np.ndarray, Numbers(axes=(1,), missing=True, most_steps=512)] | None = Field(
        default=None, description="F numbers; null where one is missing."
    )
    timestamp: Moment | None = Field(default=None, description="Its time; of every step, or of none.")

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, given: Any) -> Any:
        return given if isinstance(given, dict) else {"values" if isinstance(given, list) else "value": given}

    @model_validator(mode="after")
    def _either(self) -> Self:
        if ("value" in self.model_fields_set) == (self.values is not None):
            raise ValueError("a step has either `value` or `values`")
        return self

    @property
    def numbers(self) -> np.ndarray:
        """(F,), NaN where missing."""
        return np.array([np.nan if self.value is None else self.value]) if self.values is None else self.values


Place = float | None
"""A number that is null before the first number of its feature."""


class StepOutput(Schema):
    """One step judged. Where the step is a list of numbers, so are `expected`, `lower` and `upper`."""

    score: float = Field(description="How odd the step is, as of a whole series.")
    is_anomaly: bool = Field(description="Whether the score reaches the threshold.")
    event: int | None = Field(description="The step at which the alarm that this flag belongs to began; null: no flag.")
    threshold: float = Field(description="The least score that is flagged, by `sensitivity`.")
    expected: Place | list[Place] = Field(description="The value that would have been normal.")
    lower: Place | list[Place] = Field(description="A value below is flagged by itself.")
    upper: Place | list[Place] = Field(description="A value above is flagged by itself.")


class AnomalyConfig(Config):
    """Options of one training run of a detector."""

    hidden: int = Field(64, ge=1, le=2048, description="Units of each layer and direction.")
    epochs: int = Field(30, ge=1, le=10_000, description="Passes over the training windows at most.")
    patience: int = Field(5, ge=1, le=10_000, description="Epochs without a better score before stopping.")
    batch_steps: int = Field(8192, ge=1, le=10_000_000, description="Padded time steps in one batch at most.")
    detector: Literal["predictor", "autoencoder"] = Field(
        "predictor",
        description="`predictor`: how far a step lies outside the quantiles forecast for it (Malhotra et al. 2015). "
        "`autoencoder`: how badly a window is reconstructed from one state vector (Malhotra et al. 2016).",
    )
    window: int | None = Field(
        default=None, ge=2, le=5000, description="Steps of a training window; default 256, or 50 for the autoencoder."
    )
    windows: int = Field(20_000, ge=1, le=1_000_000, description="Training windows at most, evenly over all series.")
    ahead: list[Annotated[int, Field(ge=1, le=1000)]] = Field(
        [1, 8, 64],
        min_length=1,
        max_length=8,
        description="How many steps ahead the predictor forecasts: near ones see spikes, far ones see shifts.",
    )
    scaling: Literal["auto", "series", "shared"] = Field(
        "auto",
        description="`series`: each by its own running level and spread. `shared`: all by those of the training "
        "part, so that a level itself can be odd. `auto`: shared where the training series agree.",
    )
    memory: int = Field(
        1000,
        ge=10,
        le=1_000_000,
        description="Steps after which a series' running level and errors are half forgotten.",
    )
    smoothing: float = Field(
        10.0,
        ge=0,
        le=100_000,
        description="Half-life in steps of the stretch that is judged beside each single step; 0: single steps alone.",
    )
    percentile: float = Field(
        99.0,
        ge=50,
        le=99.999,
        description="Percentile of the scores of held-out steps where the threshold lies at sensitivity 0.95.",
    )

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        if self.bidirectional and self.detector == "predictor":
            raise ValueError("`bidirectional` would read the future that the predictor forecasts; use the autoencoder")
        return self


class Tail(Schema):
    """The distribution of a number over held-out steps: its quantiles, and beyond them a power law (Hill 1975)."""

    quantiles: list[float] = Field(
        default=[0.0, 0.1, 1.0], description="At shares from 0 to `share`, even in the logarithm of the rest."
    )
    share: float = Field(default=0.9, gt=0, lt=1, description="Share of the steps below the last quantile.")
    index: float = Field(default=1.0, gt=0, description="Mean logarithm by which steps exceed the last quantile.")


class State(Schema):
    """What is counted before learning and, from `tails` on, measured after it on held-out steps."""

    detector: Literal["predictor", "autoencoder"]
    width: int = Field(ge=1, description="Numbers of a step.")
    window: int
    windows: int = Field(description="Training windows of one series at most.")
    whole: bool = Field(description="Whether series are too short to be cut along time: each is in one part.")
    ahead: list[int]
    memory: int
    location: list[float] | None = Field(description="Shared level per feature; None: each series has its own.")
    scale: list[float] | None = Field(description="Shared spread per feature; None: each series has its own.")
    smoothing: float
    excess: float = Field(description="Share of held-out steps above the threshold at sensitivity 0.95.")
    spread: list[float] = Field(description="Mean error of a reconstruction per feature, in spreads of the series.")
    young: list[float] = Field(
        default=[1.0] * 7, description="How much more surprising steps are at ages 1, 8 ... 256."
    )
    typical: float = Field(default=1.0, description="Mean relative strain: where a stretch begins.")
    steps: Tail = Tail()
    stretches: Tail = Tail()
    scores: Tail = Tail()


CARD = Card(
    name="anomaly",
    title="The odd steps of a series",
    item=Item,
    row=Row,
    output=Output,
    state=State,
    tally=SeriesTally,
    params=AnomalyParams,
    config=AnomalyConfig,
    examples=(
        {"values": [20.1, 20.4, 20.9, 20.6, 20.2, 19.8, 19.9, 20.3, 35.0, 20.7, 20.4, None, 19.9, 20.2]},
        {
            "values": [20.0, 20.5, 20.8, 20.4],
            "timestamps": [
                "2024-01-01T00:00:00Z",
                "2024-01-01T01:00:00Z",
                "2024-01-01T02:00:00Z",
                "2024-01-01T03:00:00Z",
            ],
        },
    ),
    metric="loss",
    higher_is_better=False,
    split_by="time",
    table=table,
    answers=("labels",),
    stream=StepCard(
        step=Step,
        output=StepOutput,
        item=Schema,
        params=AnomalyParams,
        examples=(20.1, 20.4, 20.9, None, {"value": 35.0}),
    ),
)
