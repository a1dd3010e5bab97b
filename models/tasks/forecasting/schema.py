"""What may be asked about the future of a series, and what is answered. Pydantic only."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from models.arrays import Number, Numbers
from models.task import Card, Config, Params, Part, Schema, StepCard, Tally
from models.tasks.forecasting import calendar
from models.tasks.forecasting.tables import table


def _known(freq: str) -> str:
    calendar.parse(freq)
    return freq


Freq = Annotated[str, Field(max_length=12), AfterValidator(_known)]


Values = Annotated[np.ndarray, Numbers(axes=(1,), missing=True)]
Level = Annotated[float, Field(gt=0, lt=1)]


class Item(Schema):
    """A series up to now."""

    values: Values = Field(
        description='The past, oldest first; null where a value is missing. Many are shorter as {"npy": "<base64>"}.'
    )
    freq: Freq | None = Field(None, description="Time between two values: Y, Q, M, W, D, B, H, min, S, 15min ...")
    start: datetime | None = Field(None, description="Time of the first value; with `freq` it dates the answer.")


class Dates(Schema):
    """What a series that arrives step by step says beside its values."""

    freq: Freq | None = Field(None, description="Time between two values, as of an item.")
    start: datetime | None = Field(None, description="Time of the first value; with `freq` it dates the answers.")


class Step(Schema):
    """One further value of a series. A bare number or null is one, too."""

    value: Number | None = Field(description="null where it is missing.")

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, given: Any) -> Any:
        return given if isinstance(given, dict) else {"value": given}


class Row(Item):
    """A series to learn from, perhaps with its future held out."""

    id: str | None = Field(None, max_length=200)
    test_values: list[Number | None] | None = Field(None, description="The held-out future; never learnt from.")
    split: Part | None = None


class ForecastingParams(Params):
    """Options of one forecast."""

    horizon: int | None = Field(None, ge=1, le=10_000, description="Steps ahead; default and most: the model's.")
    quantiles: tuple[Level, ...] = Field((0.1, 0.5, 0.9), min_length=1, max_length=99, description="Levels to answer.")


class Output(Schema):
    """The future, as a distribution per step."""

    mean: list[float] = Field(description="Mean of the forecast distribution, per step.")
    quantiles: dict[str, list[float]] = Field(description="level -> value per step; levels never cross.")
    timestamps: list[str] | None = Field(None, description="Times of the steps, where `start` and `freq` were given.")


class ForecastingConfig(Config):
    """Options of one training run of a forecaster."""

    hidden: int = Field(64, ge=1, le=2048, description="Units of each layer and direction.")
    epochs: int = Field(15, ge=1, le=10_000, description="Passes over the training windows at most.")
    patience: int = Field(4, ge=1, le=10_000, description="Epochs without a better score before stopping.")
    batch_steps: int = Field(8192, ge=1, le=10_000_000, description="Padded time steps in one batch at most.")
    horizon: int | None = Field(
        None, ge=1, le=1000, description="Steps ahead; default: that of `test_values`, or by `freq`."
    )
    look_back: int | None = Field(
        None, ge=1, le=5000, description="Steps the network reads; default: by season and horizon."
    )
    season: int | None = Field(None, ge=1, le=5000, description="Steps of a season; default: by `freq`.")
    adjust: Literal["auto", "none", "classical"] = Field(
        "auto", description="Take the season out before learning and put it back after; `auto` tries both."
    )
    windows: int = Field(
        100_000, ge=1, le=10_000_000, description="Training windows at most, the latest of each series."
    )


class State(Schema):
    """What is counted before learning."""

    horizon: int
    look_back: int
    season: int | None
    adjust: bool
    log: bool
    """Whether series above zero are learnt as logarithms: their noise grows with their level."""
    scale: float = Field(gt=0)
    """Median size of a step in the training series: stands in where a series is too short to tell."""
    windows: int
    """Training windows of one series at most."""


class SeriesTally(Tally):
    """Counts series, lengths and missing values."""

    def __init__(self) -> None:
        self.series = self.values = self.missing = self.constant = self.empty = self.held_out = 0
        self.shortest, self.longest = 10**9, 0
        self.freqs: dict[str, int] = {}

    def add(self, row: Row, *, line: int, part: Part | None) -> None:
        present = row.values[~np.isnan(row.values)]
        self.series += 1
        self.values += len(row.values)
        self.missing += len(row.values) - len(present)
        self.empty += not len(present)
        self.constant += len(present) > 0 and bool((present == present[0]).all())
        self.held_out += row.test_values is not None
        self.shortest, self.longest = min(self.shortest, len(row.values)), max(self.longest, len(row.values))
        self.freqs[row.freq or "none"] = self.freqs.get(row.freq or "none", 0) + 1

    def stats(self) -> dict[str, Any]:
        return {
            "series": self.series,
            "values": self.values,
            "missing": self.missing,
            "constant_series": self.constant,
            "series_with_held_out_future": self.held_out,
            "shortest": self.shortest if self.series else 0,
            "longest": self.longest,
            "frequencies": self.freqs,
        }

    def warnings(self) -> list[str]:
        constant = [f"{self.constant} of {self.series} series never change; nothing can be learnt from them"]
        empty = [f"{self.empty} of {self.series} series hold no value at all"]
        return constant * (self.constant > 0) + empty * (self.empty > 0)


CARD = Card(
    name="forecasting",
    title="The future of a series",
    item=Item,
    row=Row,
    output=Output,
    state=State,
    tally=SeriesTally,
    params=ForecastingParams,
    config=ForecastingConfig,
    examples=(
        {
            "values": [112, 118, 132, 129, 121, 135, 148, 148, 136, 119, 104, 118],
            "freq": "M",
            "start": "2024-01-01T00:00:00Z",
        },
        {"values": [3.1, None, 3.4, 3.3, 3.9]},
    ),
    metric="mase",
    higher_is_better=False,
    split_by="time",
    table=table,
    stream=StepCard(
        step=Step,
        output=Output,
        item=Dates,
        params=ForecastingParams,
        examples=(112, 118, 132, None, 121),
    ),
)
