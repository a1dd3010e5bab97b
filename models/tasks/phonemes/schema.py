"""What may be asked about the phonemes of a recording, and what is answered. Pydantic only.

T frames, F features of a frame.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from models.arrays import Numbers
from models.audio import Wav
from models.families.tag.schema import TagState
from models.scaling import Scale
from models.task import Card, Config, Part, Schema, Tally, Width
from models.tasks.phonemes.manifest import rows

Kind = Literal["frames", "audio"]
Label = Annotated[str, Field(min_length=1, max_length=64)]
MOST_FRAMES = 30_000
MOST_LABELS = 256
STEP = 0.01
"""Seconds between frames that are computed from audio."""
CLOSE = 1e-6
NAMED = 20
"""Faults that are told in full."""


class Phone(Schema):
    """A label and the stretch of time it covers."""

    label: Label
    start: float = Field(ge=0, description="Seconds from the start of the audio.")
    end: float = Field(gt=0, description="Seconds; where the next may begin.")

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        if self.end <= self.start:
            raise ValueError(f"'{self.label}' ends at {self.end:g} s, not after its start at {self.start:g} s")
        return self


class SpeechItem(Schema):
    """A recording: its feature frames, or the sound itself."""

    frames: Annotated[np.ndarray, Numbers(axes=(2,), most_steps=MOST_FRAMES, most_width=2048)] | None = Field(
        default=None, description="The features of each frame, e.g. 13 MFCCs every 10 ms."
    )
    audio: Wav | None = Field(
        default=None,
        description="Base64 of a WAV file: 8 to 48 kHz, one or two channels, 16, 24 or 32 bits or floats, "
        "at most 300 s.",
    )

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.frames is None) == (self.audio is None):
            raise ValueError("either `frames` or `audio` is expected, and not both")
        return self

    @property
    def kind(self) -> Kind:
        """Which of the two it has."""
        return "audio" if self.frames is None else "frames"


class Row(SpeechItem):
    """Frames with a label for each, or audio with its phonemes; what no phoneme covers is silence.

    In a zip, `audio` names a WAV file of the zip. Its table is JSON Lines of such rows, or CSV or TSV with a line
    for each phoneme: `audio`, `label`, `start`, `end` and if need be `split`.
    """

    labels: Annotated[list[Label], Field(min_length=1, max_length=MOST_FRAMES)] | None = Field(
        default=None, description="Of frames: one label for each."
    )
    phonemes: Annotated[list[Phone], Field(max_length=MOST_FRAMES)] | None = Field(
        default=None, description="Of audio: labels with their times, in order. May be empty."
    )
    split: Part | None = None

    @model_validator(mode="after")
    def _answered(self) -> Self:
        if self.frames is not None:
            if self.labels is None or self.phonemes is not None:
                raise ValueError("frames need `labels`, one for each, and no `phonemes`")
            if len(self.labels) != len(self.frames):
                raise ValueError(f"{len(self.frames)} frames but {len(self.labels)} labels")
        elif self.phonemes is None or self.labels is not None:
            raise ValueError("audio needs `phonemes` with times, and no `labels`")
        else:
            self._in_order(self.phonemes)
        return self

    def _in_order(self, phones: list[Phone]) -> None:
        assert self.audio is not None  # noqa: S101  asked of audio alone
        for before, after in itertools.pairwise(phones):
            if after.start < before.start:
                raise ValueError(f"'{after.label}' at {after.start:g} s follows a phoneme at {before.start:g} s")
            if after.start < before.end - CLOSE:
                raise ValueError(f"'{after.label}' starts at {after.start:g} s, before the end at {before.end:g} s")
        if phones and phones[-1].end > self.audio.seconds + STEP:
            last = phones[-1]
            raise ValueError(f"'{last.label}' ends at {last.end:g} s, but the audio after {self.audio.seconds:.3f} s")


class PhonemeConfig(Config):
    """Options of one training run of a phoneme model."""

    hidden: Width = Field(128, description="Units of each layer and direction.")
    bidirectional: bool = Field(True, description="Read each recording in both directions.")
    dropout: float = Field(0.3, ge=0.0, lt=1.0, description="Share of activations dropped while learning.")
    epochs: int = Field(12, ge=1, le=10_000, description="Passes over the training part at most.")
    batch_steps: int = Field(2048, ge=1, le=10_000_000, description="Padded frames in one batch at most.")
    convolutions: int = Field(
        1, ge=0, le=6, description="Convolutional layers before the recurrent ones; they see how features move."
    )
    channels: Width = Field(64, description="Channels of each convolutional layer.")
    features: Literal["mfcc", "mel"] = Field(
        "mfcc", description="What is computed from audio: 13 cepstra, which say less of the speaker, or log-mel bands."
    )
    bands: int = Field(40, ge=10, le=128, description="Mel bands that audio is cut into.")
    deltas: int = Field(
        2, ge=0, le=2, description="Differences over time added to the features of audio, up to this order."
    )
    normalise: Literal["auto", "training", "item"] = Field(
        "auto",
        description="Subtract the training part's mean of each feature, or each recording's own first: that takes "
        "out speaker and microphone. `auto`: `item` for audio, `training` for frames.",
    )
    speed: float = Field(
        0.1, ge=0.0, le=0.5, description="Audio is learnt from as it is, and played this much slower and faster."
    )
    jitter: float = Field(
        0.1, ge=0.0, le=5.0, description="Noise added to features while learning, in standard deviations."
    )
    masking: float = Field(
        0.1, ge=0.0, lt=1.0, description="Share of neighbouring features, and of frames, hidden while learning."
    )
    silence: Label = Field("SIL", description="Label of what no phoneme covers; it is left out of `phonemes`.")


class State(TagState):
    """What is counted before learning, and fitted after it."""

    kind: Kind
    """What the model was taught to read."""
    rate: int | None = None
    """Samples a second that audio is brought to."""
    silence: str
    scale: Scale
    transitions: list[list[float]]
    """Log of how much likelier each label (column) is in the frame after each other (row) than anywhere."""
    weight: float = Field(default=0.0, ge=0)
    """How much the transitions count beside what is heard; fitted on the validation part."""


class HeardPhone(Schema):
    """A phoneme that was recognised."""

    label: str
    start: int | float = Field(description="Seconds for audio; the first frame's index for frames.")
    end: int | float = Field(description="Seconds for audio; the index after the last frame for frames.")
    score: float = Field(ge=0, le=1, description="Mean probability of the label over its frames.")


class PhonemeOutput(Schema):
    """What was heard, without silence, and the label of every frame (of audio: every 10 ms)."""

    phonemes: list[HeardPhone]
    frames: list[str]


class PhonemeTally(Tally):
    """Counts labels and lengths; the first row says what all others must look like."""

    def __init__(self) -> None:
        self.first: tuple[int, Kind, int] | None = None
        """Line, kind and width of the first row; audio has no width."""
        self.labels: Counter[str] = Counter()
        self.taught: set[str] = set()
        """Labels that the training part may hold: those of its rows, and of rows that name no part."""
        self.rates: Counter[int] = Counter()
        self.length = self.longest = 0.0
        self.covered = 0.0
        """Of audio, seconds that some phoneme covers."""
        self.odd: list[tuple[int | None, str]] = []

    def add(self, row: Row, *, line: int, part: Part | None) -> None:
        self._compare(row, line)
        length = row.audio.seconds if row.audio else float(len(row.labels or ()))
        self.length += length
        self.longest = max(self.longest, length)
        self.rates.update([row.audio.rate] if row.audio else [])
        self.covered += sum(phone.end - phone.start for phone in row.phonemes or ())
        found = Counter(row.labels or [phone.label for phone in row.phonemes or ()])
        if len(self.labels | found) > MOST_LABELS:
            self._fault(line, f"more than {MOST_LABELS} different labels; a label is one of a few phonemes")
            return
        self.labels += found
        if part in ("train", None):
            self.taught |= found.keys()

    def _compare(self, row: Row, line: int) -> None:
        width = 0 if row.frames is None else row.frames.shape[1]
        self.first = self.first or (line, row.kind, width)
        first, kind, expected = self.first
        if row.kind != kind:
            self._fault(line, f"`{row.kind}` where line {first} has `{kind}`; a data set holds one of them")
        elif width != expected:
            self._fault(line, f"{width} features a frame where line {first} has {expected}")

    def _fault(self, line: int, sentence: str) -> None:
        if len(self.odd) < NAMED:
            self.odd.append((line, sentence))

    def stats(self) -> dict[str, Any]:
        kind = self.first[1] if self.first else None
        common = {"kind": kind, "labels": dict(self.labels.most_common(100))}
        if kind == "audio":
            times = {"seconds": round(self.length, 2), "longest_seconds": round(self.longest, 2)}
            rates = {str(rate): count for rate, count in sorted(self.rates.items())}
            covered = round(self.covered / max(CLOSE, self.length), 3)
            return {**common, **times, "covered_by_phonemes": covered, "sample_rates": rates}
        width = self.first[2] if self.first else None
        return {**common, "frames": int(self.length), "longest_frames": int(self.longest), "features": width}

    def faults(self) -> list[tuple[int | None, str]]:
        if self.odd or not self.first:
            return self.odd
        if not self.taught:
            return [(None, "the training part holds no phoneme")]
        if self.first[1] == "frames" and len(self.taught) < 2:
            held = next(iter(self.taught))
            return [(None, f"the training part holds only the label '{held}'; at least two labels are needed")]
        return []

    def warnings(self) -> list[str]:
        found = [
            f"the label '{label}' stands in no training row and cannot be learnt"
            for label in sorted(self.labels.keys() - self.taught)
        ]
        if self.rates and min(self.rates) < 16_000 <= max(self.rates):
            found.append(f"some audio has {min(self.rates)} samples a second: all of it is read at 8000")
        return found


CARD = Card(
    name="phonemes",
    title="Phonemes of a recording, with their times",
    item=SpeechItem,
    row=Row,
    output=PhonemeOutput,
    state=State,
    tally=PhonemeTally,
    config=PhonemeConfig,
    archive=rows,
    answers=("labels", "phonemes"),
    examples=(
        {"frames": [[0.1, 0.9, 0.0], [0.2, 1.1, 0.1], [1.0, 0.1, 0.0], [0.9, 0.0, 0.2]]},
        {"frames": [[0.0, 1.0, 0.1], [0.1, 0.0, 1.0]]},
    ),
    metric="frame_accuracy",
)
