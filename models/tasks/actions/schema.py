"""What may be asked about a clip of frames, and what is answered. Pydantic only."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from pydantic import Field

from models.archive import Archive
from models.arrays import Frames, read_npy
from models.families.classify.schema import LabelState, LabelTally, SignalConfig
from models.readers import Bad, Record
from models.scaling import Scale
from models.schemas import LabelName, LabelOutput, LabelParams
from models.tables import cells, steps
from models.task import Card, Line, Part, Schema


class ActionItem(Schema):
    """A clip: frames in order, each a list of features (sensors, joints of a body, a picture's CNN features)."""

    frames: Frames = Field(description="A list of features for each frame.")


class Row(ActionItem):
    """A clip and what happens in it."""

    label: LabelName
    split: Part | None = None


class ActionConfig(SignalConfig):
    """Options of one training run of an action model."""

    shifting: float = Field(
        0.5, ge=0.0, le=5.0, description="Spread of a constant added to each feature of a clip while learning."
    )
    window: int = Field(
        128,
        ge=1,
        le=10_000,
        description="A longer clip is read in windows of so many frames, and their answers averaged.",
    )
    overlap: float = Field(0.5, ge=0.0, le=0.9, description="Share of a window that the next one reads again.")


class State(LabelState):
    """What is counted before learning, and fitted after it."""

    width: int
    """Features of a frame."""
    scale: Scale
    """Of what is read of a frame: its features, their changes, or both."""


class ActionTally(LabelTally):
    """Counts labels and frames; all rows must be as wide as the first."""

    unit = "frames"

    def length(self, row: Row) -> int:
        return len(row.frames)

    def width(self, row: Row) -> int:
        return int(row.frames.shape[1])


def clips(archive: Archive) -> Iterator[Record | Bad]:
    """The rows of a zip's one table, whose `frames` name .npy files of the zip."""
    return archive.rows({"frames": read_npy})


def table(lines: Iterator[Line]) -> Iterator[Line]:
    """A table as clips: `frames` in a cell, or a frame a line: `id`, `label` and a column for each feature."""
    first = next(lines, None)
    lines = chain([first] if first else [], lines)
    return cells(lines, "frames") if first and "frames" in first[1] else steps(lines, "frames")


CARD = Card(
    name="actions",
    title="Action in a clip",
    item=ActionItem,
    row=Row,
    output=LabelOutput,
    state=State,
    tally=ActionTally,
    params=LabelParams,
    config=ActionConfig,
    archive=clips,
    table=table,
    examples=(
        {"frames": [[0.0, 0.1, 1.0], [0.2, 0.1, 0.9], [0.5, 0.0, 0.9], [0.9, 0.1, 1.1]]},
        {"frames": [[0.1, 0.0, 1.0], [-0.1, 0.1, 1.0]]},
    ),
    metric="accuracy",
)
