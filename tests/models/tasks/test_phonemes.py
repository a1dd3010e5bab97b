"""Phonemes: frames or sound give labels with times; times, rates and manifests are checked, and what does not fit is refused in a sentence."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from pydantic import ValidationError

from app.errors import Invalid
from app.services.intake import take
from models.archive import Archive
from models.batch import Batch
from models.families.tag.codec import Read
from models.predictor import Predictor
from models.readers import Bad
from models.runtimes.torch_run import TorchRun
from models.task import Fault, Params
from models.tasks.phonemes.codec import CODEC, Heard, Truth, outputs, transitions
from models.tasks.phonemes.features import features_of, labels_of, played
from models.tasks.phonemes.network import NETWORK
from models.tasks.phonemes.schema import (
    CARD,
    PhonemeConfig,
    PhonemeOutput,
    PhonemeTally,
    Row,
    SpeechItem,
    State,
)
from models.trainer import Trained, train

RATE = 8_000
PITCHES = {"low": 300.0, "mid": 900.0, "high": 2400.0}
SMALL: dict[str, Any] = {"hidden": 12, "channels": 12, "epochs": 12, "patience": 12, "lr": 0.01}


def wav(samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> bytes:
    made = io.BytesIO()
    soundfile.write(made, samples, rate, format="WAV", subtype=subtype)
    return made.getvalue()


def sung(pitches: list[str | None], *, rate: int = RATE, seed: int = 0) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Tones and pauses (None) of 80 to 200 ms under faint noise, and where each tone lies."""
    generator = np.random.default_rng(seed)
    parts, phones, at = [], [], 0.0
    for pitch in pitches:
        seconds = float(generator.integers(8, 21)) / 100
        time = np.arange(round(seconds * rate)) / rate
        parts.append(0.3 * np.sin(2 * np.pi * PITCHES[pitch] * time) if pitch else 0 * time)
        if pitch:
            phones.append({"label": pitch, "start": round(at, 3), "end": round(at + seconds, 3)})
        at += seconds
    samples = np.concatenate(parts)
    return samples + 0.003 * generator.standard_normal(len(samples)), phones


def songs(n: int, *, rate: int = RATE) -> list[Row]:
    generator = np.random.default_rng(1)
    rows = []
    for index in range(n):
        chosen = [[*PITCHES, None][i] for i in generator.integers(0, 4, size=generator.integers(2, 6))]
        samples, phones = sung(chosen, rate=rate, seed=index)
        rows.append(Row(audio=wav(samples, rate), phonemes=phones))
    return rows


def stepped(n: int, *, width: int = 3, noise: float = 0.3) -> list[Row]:
    """Frames of `width` numbers, of which the one of the label is near 1, three or more in a row."""
    generator = np.random.default_rng(2)
    rows = []
    for _ in range(n):
        labels = [int(label) for label in generator.integers(0, 3, size=3) for _ in range(generator.integers(3, 6))]
        frames = np.eye(3, width)[labels] + generator.normal(scale=noise, size=(len(labels), width))
        rows.append(Row(frames=frames, labels=["abc"[label] for label in labels]))
    return rows


def learnt(rows: list[Row], **config: Any) -> tuple[Trained, Predictor]:
    chosen = PhonemeConfig(**{**SMALL, **config})
    cut = len(rows) * 3 // 4
    trained = train(CODEC, NETWORK, {"train": rows[:cut], "validation": rows[cut:]}, chosen)
    return trained, Predictor(CODEC, trained.state, chosen, TorchRun(trained.net, NETWORK))


def ask(predictor: Predictor, *items: Mapping[str, Any]) -> list[PhonemeOutput]:
    parsed = [CARD.parse_item(item) for item in items]
    return predictor.answer([predictor.prepare(item, Params()) for item in parsed], Params())


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def audio() -> tuple[Trained, Predictor]:
    return learnt(songs(28), speed=0.0, epochs=10)


@pytest.fixture(scope="module")
def frames() -> tuple[Trained, Predictor]:
    return learnt(stepped(40))


def test_tones_are_found_with_their_times(audio: tuple[Trained, Predictor]) -> None:
    trained, predictor = audio
    assert trained.metrics["validation_frame_accuracy"] > 0.9
    assert trained.metrics["validation_phone_error_rate"] < 0.2
    samples, phones = sung(["high", None, "low", "mid"], seed=99)
    (said,) = ask(predictor, {"audio": b64(wav(samples))})
    assert [phone.label for phone in said.phonemes] == ["high", "low", "mid"]
    for found, true in zip(said.phonemes, phones, strict=True):
        assert (found.start, found.end) == pytest.approx((true["start"], true["end"]), abs=0.031)
        assert 0.5 < found.score <= 1
    assert len(said.frames) == round(len(samples) / RATE * 100)
    assert set(said.frames) == {"high", "low", "mid", "SIL"}


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_the_same_sound_at_another_rate_and_in_two_channels_says_the_same(
    audio: tuple[Trained, Predictor], rate: int
) -> None:
    items = []
    for own in (RATE, rate):
        samples, _ = sung(["low", "high", None], rate=own, seed=7)
        both = np.stack([samples, samples], axis=1)
        items.append({"audio": b64(wav(both if own == rate else samples, own, "FLOAT" if own == rate else "PCM_24"))})
    one, other = ask(audio[1], *items)
    assert [phone.label for phone in one.phonemes] == [phone.label for phone in other.phonemes] == ["low", "high"]
    for found, expected in zip(other.phonemes, one.phonemes, strict=True):
        assert (found.start, found.end) == pytest.approx((expected.start, expected.end), abs=0.031)


def test_silence_and_the_shortest_sound_are_answered(audio: tuple[Trained, Predictor]) -> None:
    silence, short = ask(audio[1], {"audio": b64(wav(np.zeros(4000)))}, {"audio": b64(wav(np.zeros(160)))})
    assert silence.phonemes == []
    assert len(silence.frames) == 50
    assert len(short.frames) == 2


def test_a_phoneme_ends_with_the_audio_at_the_latest(audio: tuple[Trained, Predictor]) -> None:
    samples, phones = sung(["high", None, "mid"], seed=3)
    end = phones[-1]["end"] - 0.00125
    (said,) = ask(audio[1], {"audio": b64(wav(samples[: round(end * RATE)]))})
    assert len(said.frames) == round(end * 100)  # the last frame would end later
    assert said.phonemes[-1].end == pytest.approx(end, abs=0.0005)


def test_a_minute_is_heard_as_its_parts_are(audio: tuple[Trained, Predictor]) -> None:
    samples, phones = sung(["low", None, "high", None, "mid", None] * 70, seed=11)
    (said,) = ask(audio[1], {"audio": b64(wav(samples))})
    assert len(samples) / RATE > 50
    assert len(said.phonemes) == pytest.approx(len(phones), abs=0.1 * len(phones))


def test_frames_get_indices(frames: tuple[Trained, Predictor]) -> None:
    trained, predictor = frames
    assert trained.metrics["validation_frame_accuracy"] > 0.9
    (said,) = ask(predictor, {"frames": np.eye(3)[[0, 0, 0, 0, 2, 2, 2, 2]].tolist()})
    assert said.frames == list("aaaacccc")
    assert [(p.label, p.start, p.end) for p in said.phonemes] == [("a", 0, 4), ("c", 4, 8)]
    assert isinstance(said.phonemes[0].start, int)
    (one,) = ask(predictor, {"frames": [[0.0, 1.0, 0.0]]})
    assert len(one.frames) == 1


def test_items_of_another_kind_or_width_are_refused_with_the_place(
    audio: tuple[Trained, Predictor], frames: tuple[Trained, Predictor]
) -> None:
    with pytest.raises(Fault, match="2 features a frame where this model was taught 3") as fault:
        ask(frames[1], {"frames": [[1, 2]]})
    assert fault.value.at == ("frames",)
    with pytest.raises(Fault, match="taught with `audio` and cannot read `frames`"):
        ask(audio[1], {"frames": [[1, 2, 3]]})
    with pytest.raises(Fault, match="taught with `frames` and cannot read `audio`"):
        ask(frames[1], {"audio": b64(wav(np.zeros(800)))})


def test_every_version_answers_its_own_probes(
    audio: tuple[Trained, Predictor], frames: tuple[Trained, Predictor]
) -> None:
    for _, predictor in (audio, frames):
        predictor.probe()


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"frames": []},
        {"frames": [[]]},
        {"frames": [[1, 2], [3]]},
        {"frames": [[1, float("nan")]]},
        {"frames": [1, 2]},
        {"frames": [["😀"]]},
        {"audio": "😀"},
        {"audio": "UklGRg=="},
        {"frames": [[1]], "audio": b64(wav(np.zeros(800)))},
        {"frames": {"npy": b64(b"no array")}},
    ],
)
def test_wrong_items_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CARD.parse_item(wrong)


SECOND = b64(wav(np.zeros(RATE)))


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"frames": [[1.0]], "labels": []}, "at least 1 item"),
        ({"frames": [[1.0]], "labels": ["a", "b"]}, "1 frames but 2 labels"),
        ({"frames": [[1.0]]}, "frames need `labels`"),
        ({"frames": [[1.0]], "labels": ["a"], "phonemes": []}, "frames need `labels`, one for each, and no `phonemes`"),
        ({"audio": SECOND}, "audio needs `phonemes`"),
        ({"audio": SECOND, "phonemes": [], "labels": ["a"]}, "and no `labels`"),
        ({"audio": SECOND, "phonemes": [("a", 0.5, 0.4)]}, "'a' ends at 0.4 s, not after its start at 0.5 s"),
        ({"audio": SECOND, "phonemes": [("a", 0.5, 0.5)]}, "not after its start"),
        ({"audio": SECOND, "phonemes": [("a", -0.1, 0.5)]}, "greater than or equal to 0"),
        ({"audio": SECOND, "phonemes": [("a", 0.5, 1.2)]}, "'a' ends at 1.2 s, but the audio after 1.000 s"),
        ({"audio": SECOND, "phonemes": [("a", 0.5, 0.6), ("b", 0.1, 0.2)]}, "'b' at 0.1 s follows a phoneme at 0.5 s"),
        ({"audio": SECOND, "phonemes": [("a", 0.1, 0.6), ("b", 0.5, 0.7)]}, "'b' starts at 0.5 s, before the end at 0"),
        ({"audio": SECOND, "phonemes": [("", 0.1, 0.6)]}, "at least 1 character"),
        ({"audio": SECOND, "phonemes": [("a", 0.1, float("nan"))]}, "finite number"),
    ],
)
def test_wrong_rows_are_refused_in_a_sentence(row: dict[str, Any], sentence: str) -> None:
    if "phonemes" in row:
        row["phonemes"] = [dict(zip(("label", "start", "end"), phone, strict=True)) for phone in row["phonemes"]]
    with pytest.raises(ValidationError, match=sentence):
        Row.model_validate(row)


def test_a_row_survives_being_written() -> None:
    for row in (songs(1)[0], stepped(1)[0]):
        assert (
            Row.model_validate_json(row.model_dump_json(exclude_none=True)).model_dump_json() == row.model_dump_json()
        )


def test_a_frame_has_the_label_over_its_middle() -> None:
    phones = [{"label": "a", "start": 0.0, "end": 0.024}, {"label": "b", "start": 0.026, "end": 0.05}]
    row = Row(audio=wav(np.zeros(560)), phonemes=phones)
    assert labels_of(row, 7, "-") == ["a", "a", "-", "b", "b", "-", "-"]
    slower = played(row, 0.5)
    assert labels_of(slower, 14, "-") == [*"aaaaa", *"bbbbb", *"----"]
    config = PhonemeConfig()
    assert len(features_of(slower, RATE, config)) == 14


@pytest.mark.parametrize(
    "files",
    [
        {
            "set/manifest.tsv": "audio\tlabel\tstart\tend\tsplit\na.wav\tx\t0.0\t0.1\ttrain\na.wav\ty\t0.1\t0.2\ttrain\nb.wav\t\t\t\ttest\n"
        },
        {
            "rows.jsonl": '{"audio": "a.wav", "split": "train", "phonemes": [{"label": "x", "start": 0, "end": 0.1}, {"label": "y", "start": 0.1, "end": 0.2}]}\n'
            '{"audio": "b.wav", "split": "test", "phonemes": []}\n'
        },
    ],
)
def test_a_zip_names_its_recordings_in_either_way(tmp_path: Path, files: dict[str, str]) -> None:
    rows = read(tmp_path, {**files, "set/a.wav": wav(np.zeros(RATE)), "set/b.wav": wav(np.ones(RATE) / 2)})
    assert [row.split for row in rows] == ["train", "test"]
    assert [[(p.label, p.start, p.end) for p in row.phonemes or ()] for row in rows] == [
        [("x", 0.0, 0.1), ("y", 0.1, 0.2)],
        [],
    ]
    assert [float(row.audio.samples(RATE)[0]) for row in rows if row.audio] == [0.0, 0.5]


def zipped(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    with zipfile.ZipFile(folder / "data.zip", "w") as made:
        for name, data in files.items():
            made.writestr(name, data)
    return folder / "data.zip"


def read(folder: Path, files: Mapping[str, str | bytes]) -> list[Row]:
    assert CARD.archive is not None
    found = list(CARD.archive(Archive(zipped(folder, files))))
    return [CARD.row.model_validate(record[1]) for record in found if not isinstance(record, Bad)]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"a.wav": wav(np.zeros(800))}, "must hold one table"),
        ({"m.csv": "audio,label,start,end\ngone.wav,x,0,0.1\n"}, "no file 'gone.wav'"),
        ({"m.csv": "audio,label,start,end\na.wav,x,0,0.1\n", "a.wav": b"no sound"}, "not a readable WAV file"),
        ({"m.csv": "audio,label,start,end\na.wav,x,0,soon\n", "a.wav": wav(np.zeros(800))}, "valid number"),
        ({"m.csv": "audio,label,start,end\na.wav,x,0,\n", "a.wav": wav(np.zeros(800))}, "phonemes.0.end"),
        ({"m.csv": "audio,label,start,end\n,x,0,1\n"}, "`audio` must name a file of the zip"),
        ({"m.csv": "audio,text\na.wav,x\n", "a.wav": wav(np.zeros(800))}, "text: Extra inputs"),
        ({"m.jsonl": '{"audio": 7, "phonemes": []}\n'}, "`audio` must name a file"),
        ({"m.csv": "audio,label,start,end\na.wav,x,0,9\n", "a.wav": wav(np.zeros(800))}, "'x' ends at 9 s, but"),
    ],
)
def test_a_wrong_zip_is_refused_in_a_sentence(tmp_path: Path, files: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Invalid) as refused:
        take(zipped(tmp_path, files), tmp_path / "rows", CARD, "application/zip", seed=0)
    assert sentence in refused.value.errors[0].detail
    assert "phonemes" not in refused.value.detail


def test_a_data_set_is_counted() -> None:
    tally = PhonemeTally()
    for line, row in enumerate(songs(10), start=1):
        tally.add(row, line=line, part="train" if line < 10 else "test")
    stats = tally.stats()
    assert tally.faults() == tally.warnings() == []
    assert stats["kind"] == "audio"
    assert stats["sample_rates"] == {"8000": 10}
    assert 0 < stats["covered_by_phonemes"] < 1 < stats["longest_seconds"] + 1 < stats["seconds"]
    assert set(stats["labels"]) == set(PITCHES)


def tallied(*rows: tuple[Row, str]) -> PhonemeTally:
    tally = PhonemeTally()
    for line, (row, part) in enumerate(rows, start=1):
        tally.add(row, line=line, part=part)  # type: ignore[arg-type]
    return tally


def test_faults_across_rows_are_told_by_line() -> None:
    wide, narrow, sound = stepped(1)[0], stepped(1, width=2)[0], songs(1)[0]
    assert tallied((wide, "train"), (narrow, "train")).faults() == [(2, "2 features a frame where line 1 has 3")]
    assert tallied((wide, "train"), (sound, "train")).faults() == [
        (2, "`audio` where line 1 has `frames`; a data set holds one of them")
    ]
    only = Row(frames=[[1.0]], labels=["a"])
    assert "only the label 'a'" in tallied((only, "train")).faults()[0][1]
    assert "holds no phoneme" in tallied((sound, "test")).faults()[0][1]
    many = Row(frames=np.zeros((300, 1)), labels=[f"l{i}" for i in range(300)])
    assert tallied((many, "train")).faults() == [
        (1, "more than 256 different labels; a label is one of a few phonemes")
    ]


def test_what_cannot_be_learnt_is_warned_of() -> None:
    other = Row(frames=[[1.0, 0.0, 0.0]], labels=["😀"])
    assert tallied((stepped(1)[0], "train"), (other, "test")).warnings() == [
        "the label '😀' stands in no training row and cannot be learnt"
    ]
    mixed = tallied((songs(1)[0], "train"), (songs(1, rate=16_000)[0], "train"))
    assert mixed.warnings() == ["some audio has 8000 samples a second: all of it is read at 8000"]


def test_a_label_that_was_never_taught_counts_as_wrong() -> None:
    rows = stepped(20)
    strange = Row(frames=rows[-1].frames, labels=["😀"] * len(rows[-1].labels or ()))
    trained, _ = learnt([*rows[:15], strange, strange, strange, strange, strange], epochs=2)
    assert trained.metrics["validation_frame_accuracy"] == 0
    assert "😀" not in trained.state.labels  # type: ignore[attr-defined]


def test_the_rate_is_the_training_datas() -> None:
    for rate, expected in ((8_000, 8_000), (11_025, 8_000), (16_000, 16_000), (44_100, 16_000)):
        assert CODEC.learn(songs(2, rate=rate), PhonemeConfig()).rate == expected


def test_what_follows_what_is_counted() -> None:
    found = transitions([["a", "a", "a", "b"], ["b", "b"]], ["a", "b"])
    after = np.array([[3, 2], [1, 2]]) / np.array([[5], [3]])
    anywhere = np.array([4, 4]) / 8
    np.testing.assert_allclose(found, np.log(after / anywhere))


def test_transitions_smooth_what_is_heard_and_their_weight_is_fitted() -> None:
    generator = np.random.default_rng(0)
    truth = ["a"] * 10 + ["b"] * 10
    heard = np.where(np.array(truth)[:, None] == np.array(["a", "b"]), 0.7, 0.3)
    heard[[3, 14]] = heard[[14, 3]]  # two frames that are heard wrong
    state = State(
        kind="frames",
        labels=["a", "b"],
        counts=[10, 10],
        rows=1,
        silence="SIL",
        scale={"mean": [0.0], "deviation": [1.0]},
        transitions=transitions([truth], ["a", "b"]).tolist(),
    )
    read = Read(ends=[20], of=Heard(seconds=None, silence="SIL"))
    batch = Batch(arrays={"lengths": np.array([20])}, contexts=[read])
    said = np.log(heard)[None] + 1e-9 * generator.standard_normal((1, 20, 2))
    assert len(outputs(said, batch, state)[0].phonemes) == 6
    answer = Truth(frames=truth, phones=["a", "b"])
    fitted = CODEC.calibrate(lambda _name, _inputs: {"scores": said}, [batch], state, [[answer]])
    assert fitted.weight > 0
    (smooth,) = outputs(said, batch, fitted)
    assert [(p.label, p.start, p.end) for p in smooth.phonemes] == [("a", 0, 10), ("b", 10, 20)]
    assert smooth.phonemes[0].score == pytest.approx((9 * 0.7 + 0.3) / 10, abs=1e-6)
    assert CODEC.score([smooth], [answer]) == {"frame_accuracy": 1.0, "phone_error_rate": 0.0}


@pytest.mark.parametrize(
    "changed",
    [
        {"layers": 2},
        {"bidirectional": False},
        {"dropout": 0.0},
        {"batch_steps": 64},
        {"convolutions": 0},
        {"channels": 6},
        {"features": "mel"},
        {"bands": 20},
        {"deltas": 0},
        {"normalise": "training"},
        {"speed": 0.0},
        {"jitter": 0.0},
        {"masking": 0.0},
        {"silence": "pause"},
    ],
)
def test_every_option_changes_something(changed: dict[str, Any], plain: Trained) -> None:
    other, _ = learnt(songs(4), epochs=1, **changed)
    assert other.history[0].values["train_loss"] != plain.history[0].values["train_loss"] or changed == {
        "silence": other.state.silence  # type: ignore[attr-defined]
    }


@pytest.fixture(scope="module")
def plain() -> Trained:
    return learnt(songs(4), epochs=1)[0]


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "peephole", "coupled", "slstm"])
def test_every_cell_learns(cell: str) -> None:
    trained, _ = learnt(stepped(16), cell=cell, epochs=3)
    history = [report.values["train_loss"] for report in trained.history]
    assert min(history) < 0.9 * history[0]


def test_the_examples_of_the_card_fit_the_sample() -> None:
    import models.tasks.phonemes as here  # noqa: PLC0415

    lines = (Path(here.__path__[0]) / "sample.jsonl").read_text(encoding="utf-8").splitlines()
    assert {len(json.loads(line)["frames"][0]) for line in lines} == {3}
    assert all(SpeechItem.model_validate(item).kind == "frames" for item in CARD.examples)
