"""What may be asked about a melody, and what is answered. Pydantic only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from models.task import Card, Config, Line, Params, Part, Schema, StepCard, Tally
from models.tasks.melody import files, sounds
from models.tasks.melody.pitches import Key, Pitch

LONGEST = 100_000
MOST_DURATIONS = 64

Form = Literal["monophonic", "polyphonic"]


class Note(Schema):
    """One note of a melody, or a rest."""

    pitch: Pitch | None = Field(description="MIDI number, or a name such as C4, F#3, Bb (octave 4); null is a rest.")
    duration: float = Field(1.0, gt=0, le=1024, description="In quarter notes.")


class Item(Schema):
    """A melody up to now: notes one after the other, or chords on a grid of equal steps."""

    notes: Annotated[list[Note], Field(fail_fast=True)] | None = Field(
        None, min_length=1, max_length=LONGEST, description="Of a monophonic melody."
    )
    steps: Annotated[list[Annotated[list[Key], Field(max_length=88)]], Field(fail_fast=True)] | None = Field(
        None, min_length=1, max_length=LONGEST, description="Of a polyphonic one: the pitches that sound in each step."
    )

    @property
    def form(self) -> Form:
        """Whether one pitch sounds at a time."""
        return "monophonic" if self.notes is not None else "polyphonic"

    @property
    def size(self) -> int:
        """How many notes, or steps, there are."""
        return len(self.notes or self.steps or ())

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.notes is None) == (self.steps is None):
            raise ValueError("a melody has either `notes` (monophonic) or `steps` (polyphonic)")
        return self


class Row(Item):
    """A melody to learn from."""

    step: float = Field(1.0, gt=0, le=64, description="Quarter notes that each of `steps` lasts.")
    id: str | None = Field(None, max_length=200)
    split: Part | None = None


class MelodyParams(Params):
    """Options of one continuation."""

    length: int = Field(
        default=50, ge=0, le=2000, description="Notes, or steps, to go on for; 0 only scores the melody."
    )
    temperature: float = Field(
        default=1.0,
        ge=0,
        le=10,
        description="Below 1 the likely becomes likelier, above 1 less so; 0 takes the likeliest.",
    )
    top_k: int | None = Field(
        default=None, ge=1, le=1000, description="Choose among the likeliest so many; default all."
    )
    top_p: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Choose among the likeliest that make up this share of probability; default all.",
    )
    seed: int | None = Field(
        default=None, ge=0, le=2**31 - 1, description="Same seed, same melody; drawn when left out."
    )


class Output(Schema):
    """How a melody goes on."""

    notes: list[Note] | None = Field(
        default=None, description="The continuation of a monophonic melody, prompt left out."
    )
    steps: list[list[int]] | None = Field(default=None, description="The continuation of a polyphonic melody.")
    step: float | None = Field(default=None, description="Quarter notes that each of `steps` lasts.")
    nll: float = Field(
        description="How surprising the melody that was sent is: its negative log-likelihood under the model, "
        "in nats per note (or step), the first one included. The continuation is not counted."
    )
    seed: int = Field(description="What was drawn from: sent again, it gives this continuation again.")


class Step(Schema):
    """One further step of a melody: a note, or a chord. A bare pitch is a note, a bare list of pitches a chord."""

    pitch: Pitch | None = Field(default=None, description="Of a note: MIDI number or name; null is a rest.")
    duration: float = Field(default=1.0, gt=0, le=1024, description="Of a note, in quarter notes.")
    keys: Annotated[list[Key], Field(max_length=88)] | None = Field(
        default=None, description="Of a chord: the pitches that sound; none is a rest."
    )

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, given: Any) -> Any:
        return given if isinstance(given, dict) else {"keys" if isinstance(given, list) else "pitch": given}

    @model_validator(mode="after")
    def _either(self) -> Self:
        if ("pitch" in self.model_fields_set) == (self.keys is not None):
            raise ValueError("a step has either `pitch` (a note) or `keys` (a chord)")
        return self


class Likely(Schema):
    """What may come next."""

    pitch: int | None = Field(default=None, description="Of a note; null is a rest.")
    duration: float | None = Field(default=None, description="Of a note, in quarter notes: its pitch's likeliest.")
    keys: list[int] | None = Field(default=None, description="Of a chord, its likeliest keys one after the other.")
    probability: float = Field(ge=0, le=1, description="That the next step is this.")


class StepOutput(Schema):
    """One step of a melody heard, and what is expected after it."""

    nll: float = Field(description="How surprising the step was, given all before it, in nats.")
    next: list[Likely] = Field(description="The likeliest notes, likeliest first; or the likeliest chord.")


class StepParams(Params):
    """Options of a session."""

    likeliest: int = Field(default=5, ge=0, le=20, description="Likeliest pitches of the next note to tell.")


class MelodyConfig(Config):
    """Options of one training run of a melody model."""

    hidden: int = Field(256, ge=1, le=2048, description="Units of each layer.")
    bidirectional: Literal[False] = Field(False, description="A melody is continued from what came before: never.")
    dropout: float = Field(0.4, ge=0.0, lt=1.0, description="Share of activations dropped while learning.")
    batch_steps: int = Field(512, ge=1, le=10_000_000, description="Padded notes or steps in one batch at most.")
    epochs: int = Field(40, ge=1, le=10_000, description="Passes over the training part at most.")
    patience: int = Field(10, ge=1, le=10_000, description="Epochs without a better score before stopping.")
    lr: float = Field(5e-3, gt=0.0, le=1.0, description="Peak learning rate of AdamW.")
    embedding: int = Field(64, ge=1, le=1024, description="Width of a pitch's and of a duration's vector.")
    window: int = Field(
        512, ge=2, le=10_000, description="Notes or steps learnt at a stretch; longer rows are cut, and so scored."
    )
    transpose: int = Field(
        0, ge=0, le=12, description="Semitones by which a row is shifted up or down at random each time it is learnt."
    )
    chords: Literal["joint", "independent"] = Field(
        "joint",
        description="Polyphonic: keys of a step chosen one after the other, each knowing those before, or each alone.",
    )


class State(Schema):
    """What is counted before learning."""

    form: Form
    pitches: list[int]
    """MIDI numbers that may be played: those of the training part, and their transpositions."""
    shares: list[float]
    """In which share of the steps each of them sounds, over all transpositions."""
    durations: list[float] = []
    """Quarter notes, rising; a duration that is none of these counts as the nearest."""
    rests: bool = False
    step: float = 1.0
    chords: Literal["joint", "independent"] = "joint"


class MelodyTally(Tally):
    """Counts forms, lengths, pitches and durations; memory does not grow with the rows."""

    def __init__(self) -> None:
        self.forms: dict[Form, int] = {}
        self.first: dict[Form, int] = {}
        """The line of each form's first row."""
        self.grids: dict[float, int] = {}
        self.pitches: Counter[int] = Counter()
        self.durations: Counter[float] = Counter()
        self.steps = self.sounding = self.rests = self.single = self.longest = 0
        self.shortest = LONGEST

    def add(self, row: Row, *, line: int, part: Part | None) -> None:
        self.forms[row.form] = self.forms.get(row.form, 0) + 1
        self.first.setdefault(row.form, line)
        self.steps += row.size
        self.single += row.size == 1
        self.shortest, self.longest = min(self.shortest, row.size), max(self.longest, row.size)
        for note in row.notes or ():
            self.pitches.update(() if note.pitch is None else (note.pitch,))
            self.rests += note.pitch is None
            if note.duration in self.durations or len(self.durations) < 1000:
                self.durations[note.duration] += 1
        if row.steps is not None:
            if row.step in self.grids or len(self.grids) < 2:
                self.grids.setdefault(row.step, line)
            for keys in row.steps:
                self.pitches.update(keys)
                self.rests += not keys

    def stats(self) -> dict[str, Any]:
        return {
            "form": next(iter(self.forms), None),
            "melodies": sum(self.forms.values()),
            "steps": self.steps,
            "shortest": self.shortest if self.forms else 0,
            "longest": self.longest,
            "pitches": len(self.pitches),
            "lowest": min(self.pitches, default=None),
            "highest": max(self.pitches, default=None),
            "pitches_per_step": round(self.pitches.total() / max(1, self.steps), 2),
            "rests": self.rests,
            "durations": {f"{duration:g}": n for duration, n in self.durations.most_common(20)},
        }

    def faults(self) -> list[tuple[int | None, str]]:
        if len(self.forms) > 1:
            sentence = "some rows hold `notes` and others `steps`; a model is either monophonic or polyphonic"
            return [(max(self.first.values()), sentence)]
        if len(self.grids) > 1:
            one, other = self.grids
            sentence = (
                f"a step lasts {one:g} quarter notes in some rows and {other:g} in others; one model has one grid"
            )
            return [(max(self.grids.values()), sentence)]
        if self.forms and not self.pitches:
            return [(None, "nothing but rests in the whole file")]
        return []

    def warnings(self) -> list[str]:
        found = []
        if self.single:
            found.append(f"{self.single} melodies of a single step: nothing in them follows anything")
        if len(self.durations) > MOST_DURATIONS:
            many = f"{len(self.durations)}" if len(self.durations) < 1000 else "1000 or more"
            found.append(
                f"{many} different durations; the {MOST_DURATIONS} most common are kept and the others rounded to them"
            )
        return found


def table(lines: Iterator[Line]) -> Iterator[Line]:
    """A table of one note a line (`pitch`, and where there are `duration`, `id`, `split`) as melodies:
    lines that follow each other and have the same `id` are one. An empty `pitch` is a rest."""
    begun: tuple[int, dict[str, Any]] | None = None
    for number, record in lines:
        if "pitch" not in record:
            yield from [] if begun is None else [begun]
            begun = None
            yield number, record
            continue
        note = {name: record[name] for name in ("pitch", "duration") if name == "pitch" or record.get(name) is not None}
        pitch = note["pitch"]
        note["pitch"] = int(pitch) if isinstance(pitch, str) and pitch.strip().isdecimal() else pitch
        others = {name: cell for name, cell in record.items() if name not in ("pitch", "duration") and cell is not None}
        if begun is None or {name: cell for name, cell in begun[1].items() if name != "notes"} != others:
            if begun is not None:
                yield begun
            begun = number, {**others, "notes": []}
        begun[1]["notes"].append(note)
    if begun is not None:
        yield begun


def to_midi(output: Output) -> bytes:
    """A continuation as a MIDI file of one piano track, at 120 quarter notes a minute."""
    if output.notes is not None:
        return files.written(sounds.played((note.pitch, note.duration) for note in output.notes))
    return files.written(sounds.held(output.steps or [], output.step or 1.0))


CARD = Card(
    name="melody",
    title="How a melody goes on",
    item=Item,
    row=Row,
    output=Output,
    state=State,
    tally=MelodyTally,
    params=MelodyParams,
    config=MelodyConfig,
    examples=(
        {"notes": [{"pitch": "C4"}, {"pitch": "D4"}, {"pitch": "E4", "duration": 2.0}]},
        {"notes": [{"pitch": 67, "duration": 0.5}, {"pitch": 65, "duration": 0.5}, {"pitch": 64}]},
    ),
    metric="nll",
    higher_is_better=False,
    table=table,
    archive=files.rows,
    answers=(),
    scoring=MelodyParams(length=0),
    media={"audio/midi": to_midi},
    stream=StepCard(
        step=Step,
        output=StepOutput,
        item=Schema,
        params=StepParams,
        examples=({"pitch": "C4"}, {"pitch": "D4"}, {"pitch": "E4", "duration": 2.0}),
    ),
)
