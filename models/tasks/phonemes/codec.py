"""Recordings to scaled feature frames, and scores of frames to phonemes with their times. NumPy only.

B recordings, T frames (padded), F features, C labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.audio import silent
from models.batch import Batch, Example
from models.families.tag.chain import Chain
from models.families.tag.codec import Read, TagCodec, counted, runs
from models.runtimes.run import Run
from models.scaling import Scale
from models.scores import accuracy, error_rate
from models.task import Fault, Params, Part, Vectors
from models.tasks.phonemes.features import features_of, labels_of, played
from models.tasks.phonemes.schema import (
    CARD,
    STEP,
    HeardPhone,
    PhonemeConfig,
    PhonemeOutput,
    Row,
    SpeechItem,
    State,
)

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""How much transitions may count."""
MOST_JUDGED = 50_000
"""Frames of the validation part at most that their weight is fitted on."""


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What is remembered of a recording: its seconds, or None where frames were given, and what silence is called."""

    seconds: float | None
    silence: str


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The label of each frame, and the phonemes in order, without silence."""

    frames: Sequence[str]
    phones: Sequence[str]


class PhonemeCodec(TagCodec[Row, SpeechItem, PhonemeOutput, State, Params, PhonemeConfig]):
    """Cepstra of audio, or frames as given; the likeliest path of labels, told as phonemes."""

    card = CARD

    def learn(self, rows: Sequence[Row], config: PhonemeConfig, vectors: Vectors | None = None) -> State:
        rates = [row.audio.rate for row in rows if row.audio]
        rate = (16_000 if min(rates) >= 16_000 else 8_000) if rates else None
        read = [features_of(row, rate, config) for row in rows]
        labels = [labels_of(row, len(frames), config.silence) for row, frames in zip(rows, read, strict=True)]
        told = counted(labels)
        return State(
            **told,
            kind=rows[0].kind,
            rate=rate,
            silence=config.silence,
            scale=Scale.of(read),
            transitions=transitions(labels, told["labels"]).tolist(),
        )

    def read(self, item: SpeechItem, state: State, config: PhonemeConfig) -> Example:
        if item.kind != state.kind:
            raise Fault(f"this model was taught with `{state.kind}` and cannot read `{item.kind}`", at=(item.kind,))
        frames, width = features_of(item, state.rate, config), len(state.scale.mean)
        if frames.shape[1] != width:
            raise Fault(f"{frames.shape[1]} features a frame where this model was taught {width}", at=("frames",))
        heard = Heard(seconds=item.audio.seconds if item.audio else None, silence=state.silence)
        scaled = state.scale.apply(frames)
        return Example(arrays={"frames": scaled}, length=len(scaled), context=Read(ends=[len(scaled)], of=heard))

    def labels(self, row: Row, example: Example) -> list[str]:
        return labels_of(row, example.length, example.context.of.silence)

    def examples(self, row: Row, state: State, config: PhonemeConfig, part: Part) -> Iterator[Example]:
        speeds = (1.0, 1 - config.speed, 1 + config.speed) if part == "train" and config.speed else (1.0,)
        for speed in speeds if row.audio else (1.0,):
            for example in super().examples(played(row, speed), state, config, part):
                frames = example.answer
                phones = [frames[start] for start, _ in runs(frames) if frames[start] != state.silence]
                yield replace(example, answer=Truth(frames=frames, phones=phones))

    def predict(self, run: Run, batch: Batch, params: Params, state: State) -> list[PhonemeOutput]:
        return outputs(heard(run, batch), batch, state)

    def score(self, outputs: Sequence[PhonemeOutput], answers: Sequence[Truth]) -> dict[str, float]:
        """The share of frames that are right, and the edits (Levenshtein) for each true phoneme."""
        frames = [label for output in outputs for label in output.frames]
        phones = [[phone.label for phone in output.phonemes] for output in outputs]
        return {
            "frame_accuracy": accuracy(frames, [label for answer in answers for label in answer.frames]),
            "phone_error_rate": error_rate(phones, [answer.phones for answer in answers]),
        }

    def calibrate(self, run: Run, batches: Sequence[Batch], state: State, answers: Sequence[Sequence[Truth]]) -> State:
        """The weight of the transitions with the greatest frame accuracy less phone error rate."""
        read, frames = list[tuple[np.ndarray, Batch]](), 0
        for batch in batches:
            read.append((heard(run, batch), batch))
            frames += int(batch.arrays["lengths"].sum())
            if frames >= MOST_JUDGED:
                break
        truth = [answer for part in answers[: len(read)] for answer in part]

        def balance(tried: State) -> float:
            found = self.score([output for said, batch in read for output in outputs(said, batch, tried)], truth)
            return found["frame_accuracy"] - found["phone_error_rate"]

        return max((state.model_copy(update={"weight": weight}) for weight in WEIGHTS), key=balance)

    def probes(self, state: State) -> list[SpeechItem]:
        """Two recordings of the kind and width that the model was taught."""
        if state.rate is not None:
            return [SpeechItem(audio=silent(seconds, state.rate)) for seconds in (0.5, 0.2)]
        mean = np.array(state.scale.mean)
        return [SpeechItem(frames=np.tile(mean, (length, 1))) for length in (5, 2)]


def transitions(rows: Sequence[Sequence[str]], labels: Sequence[str]) -> np.ndarray:
    """(C, C): how much likelier each label is after each other than anywhere, as a logarithm; one of each is added."""
    index = {label: number for number, label in enumerate(labels)}
    counts = np.ones((len(labels), len(labels)))
    for row in rows:
        path = [index[label] for label in row]
        np.add.at(counts, (path[:-1], path[1:]), 1)
    after = counts / counts.sum(axis=1, keepdims=True)
    return np.asarray(np.log(after) - np.log(counts.sum(axis=0) / counts.sum()))


def heard(run: Run, batch: Batch) -> np.ndarray:
    """(B, T, C): the log-probability of each label in each frame."""
    scores = run("forward", batch.arrays)["scores"].astype(np.float64)
    shifted = scores - scores.max(axis=2, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=2, keepdims=True)))


def outputs(said: np.ndarray, batch: Batch, state: State) -> list[PhonemeOutput]:
    """What log-probabilities (B, T, C) tell of each recording of a batch."""
    lengths = batch.arrays["lengths"]
    if state.weight:
        paths = Chain(said, state.weight * np.array(state.transitions), lengths).best()
    else:
        paths = [row[:length].argmax(axis=1) for row, length in zip(said, lengths, strict=True)]
    return [
        _output(path, np.exp(row), state, context.of.seconds)
        for path, row, context in zip(paths, said, batch.contexts, strict=True)
    ]


def _output(path: np.ndarray, probabilities: np.ndarray, state: State, seconds: float | None) -> PhonemeOutput:
    frames = [state.labels[number] for number in path]
    phones = []
    for start, end in runs(frames):
        if frames[start] == state.silence:
            continue
        score = float(probabilities[start:end, path[start]].mean())
        times = (start, end) if seconds is None else (_time(start, seconds), _time(end, seconds))
        phones.append(HeardPhone(label=frames[start], start=times[0], end=times[1], score=min(1.0, score)))
    return PhonemeOutput(phonemes=phones, frames=frames)


def _time(frame: int, seconds: float) -> float:
    """Where a frame begins, in seconds; never past the end of the audio."""
    return round(min(frame * STEP, seconds), 3)


CODEC = PhonemeCodec()
