"""Rows of phonemes: times, rates and manifests are checked and counted, and what does not fit is refused in a sentence."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from app.errors import Invalid
from app.services.intake import take
from models.archive import Archive
from models.readers import Bad
from models.tasks.phonemes.codec import CODEC
from models.tasks.phonemes.features import features_of, labels_of, played
from models.tasks.phonemes.schema import CARD, PhonemeConfig, PhonemeTally, Row, SpeechItem
from tests.models.tasks.sounds import PITCHES, RATE, b64, songs, stepped, wav

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
        (
            {"m.csv": "audio,label,start,end\na.wav,x,0,soon\n", "a.wav": wav(np.zeros(800))},
            "a number is expected, not 'soon'",
        ),
        ({"m.csv": "audio,label,start,end\na.wav,x,0,\n", "a.wav": wav(np.zeros(800))}, "phonemes.0.end"),
        ({"m.csv": "audio,label,start,end\n,x,0,1\n"}, "`audio` must name a file of the zip"),
        ({"m.csv": "audio,text\na.wav,x\n", "a.wav": wav(np.zeros(800))}, "unknown field `text`"),
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


def test_the_rate_is_the_training_datas() -> None:
    for rate, expected in ((8_000, 8_000), (11_025, 8_000), (16_000, 16_000), (44_100, 16_000)):
        assert CODEC.learn(songs(2, rate=rate), PhonemeConfig()).rate == expected


def test_the_examples_of_the_card_fit_the_sample() -> None:
    import models.tasks.phonemes as here  # noqa: PLC0415

    lines = (Path(here.__path__[0]) / "sample.jsonl").read_text(encoding="utf-8").splitlines()
    assert {len(json.loads(line)["frames"][0]) for line in lines} == {3}
    assert all(SpeechItem.model_validate(item).kind == "frames" for item in CARD.examples)
