"""What tasks that give a whole row one label share: state, counts of a data set, options. Pydantic only."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from models.task import Config, Part, Schema, Tally, Width

MOST_LABELS = 1000
NAMED = 20
"""Rows of another shape that are told."""


class LabelState(Schema):
    """What is counted of labels before learning, and fitted after it."""

    labels: list[str]
    counts: list[int]
    """Training rows of each label."""
    temperature: float = Field(default=1.0, gt=0)
    """Divides the logits, so that a score of 0.8 is right four times out of five (Guo et al. 2017)."""


class LabelTally(Tally):
    """Counts labels and lengths; memory does not grow beyond `MOST_LABELS` labels of each part."""

    unit: ClassVar[str]
    """What the length of a row is counted in."""

    def __init__(self) -> None:
        self.labels: Counter[str] = Counter()
        self.taught: set[str] = set()
        """Labels that the training part may hold: those of its rows, and of rows that name no part."""
        self.rows = 0
        self.units = 0
        self.longest = 0
        self.crowded: int | None = None
        """The line whose label was one too many."""
        self.first: tuple[int, int | None] | None = None
        """Line and width of the first row: all others must be as wide."""
        self.odd: list[tuple[int | None, str]] = []

    @abstractmethod
    def length(self, row: Any) -> int:
        """How many units a row is long."""

    def width(self, row: Any) -> int | None:
        """Numbers of a step; None where a step is no list of numbers."""
        return None

    def add(self, row: Any, *, line: int, part: Part | None) -> None:
        length = self.length(row)
        self.rows += 1
        self.units += length
        self.longest = max(self.longest, length)
        width = self.width(row)
        if self.first is None:
            self.first = line, width
        elif width != self.first[1] and len(self.odd) < NAMED:
            self.odd.append((line, f"{said(width)} where line {self.first[0]} has {said(self.first[1])}"))
        if row.label not in self.labels and len(self.labels) >= MOST_LABELS:
            self.crowded = self.crowded or line
            return
        self.labels[row.label] += 1
        if part in ("train", None):
            self.taught.add(row.label)

    def stats(self) -> dict[str, Any]:
        width = self.first[1] if self.first else None
        return {
            "labels": dict(self.labels.most_common(100)),
            **({} if width is None else {"features": width}),
            f"mean_{self.unit}": round(self.units / max(1, self.rows), 1),
            f"longest_{self.unit}": self.longest,
        }

    def faults(self) -> list[tuple[int | None, str]]:
        return [*self.odd, *self._label_faults()]

    def _label_faults(self) -> list[tuple[int | None, str]]:
        if self.crowded is not None:
            return [
                (self.crowded, f"more than {MOST_LABELS} different labels; a label is one of a few words, not a text")
            ]
        if len(self.labels) == 1:
            return [(None, f"every row has the label '{next(iter(self.labels))}'; at least two labels are needed")]
        if self.labels and len(self.taught) < 2:
            held = f"only the label '{next(iter(self.taught))}'" if self.taught else "no row"
            return [(None, f"the training part holds {held}; at least two labels are needed there")]
        return []

    def warnings(self) -> list[str]:
        untaught = [label for label in self.labels if label not in self.taught]
        return [
            *(f"the label '{label}' has one row; add more or drop it" for label, n in self.labels.items() if n == 1),
            *(f"the label '{label}' stands in no training row and cannot be learnt" for label in untaught),
        ]


def said(width: int | None) -> str:
    """What a step is, in words; tokens have no width."""
    return "tokens" if width is None else f"{width} number{'' if width == 1 else 's'} a step"


class SignalConfig(Config):
    """Options of a network that reads feature vectors over time and gives them one label."""

    bidirectional: bool = Field(True, description="Read each row in both directions; a stream needs one alone.")
    dropout: float = Field(0.3, ge=0.0, lt=1.0, description="Share of activations dropped while learning.")
    epochs: int = Field(40, ge=1, le=10_000, description="Passes over the training part at most.")
    patience: int = Field(12, ge=1, le=10_000, description="Epochs without a better score before stopping.")
    motion: Literal["none", "added", "alone"] = Field(
        "added",
        description="Whether the change of each number since the step before is read: not, beside the numbers, or "
        "in their place, so that it does not matter around what they move.",
    )
    convolutions: int = Field(
        2, ge=0, le=6, description="Convolutional layers before the recurrent ones; they see short patterns."
    )
    channels: Width = Field(64, description="Channels of each convolutional layer.")
    kernel: int = Field(5, ge=1, le=63, description="Steps that a convolution sees at once; an odd number.")
    pooling: Literal["mean_max", "last", "attention"] = Field(
        "mean_max",
        description="What the label is read from: the mean and the greatest of all steps, the last state, "
        "or a mean weighted by attention.",
    )
    jitter: float = Field(
        0.1, ge=0.0, le=5.0, description="Noise added to numbers while learning, in standard deviations."
    )
    scaling: float = Field(
        0.1, ge=0.0, le=1.0, description="Spread of a factor that stretches each feature of a row while learning."
    )
    shifting: float = Field(
        0.0, ge=0.0, le=5.0, description="Spread of a constant added to each feature of a row while learning."
    )
    warping: float = Field(
        0.2, ge=0.0, lt=1.0, description="How much the speed of a row varies while learning; 0.2: by a fifth."
    )
    cropping: float = Field(
        0.1, ge=0.0, lt=1.0, description="Largest share of a row's steps that is left away while learning."
    )

    @field_validator("kernel")
    @classmethod
    def _odd(cls, kernel: int) -> int:
        if kernel % 2 == 0:
            raise ValueError(f"kernel {kernel} is even; an odd number has a middle")
        return kernel
