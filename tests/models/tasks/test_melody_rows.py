"""Rows of melodies: cut and transposed, counted, gathered from a table, and read as what the network hears."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

import models.tasks.melody.codec
from models.tasks.melody.codec import CODEC
from models.tasks.melody.network import transposed
from models.tasks.melody.pitches import LOWEST_KEY, number
from models.tasks.melody.schema import MOST_DURATIONS, Item, MelodyConfig, MelodyTally, Row, State, table
from models.tasks.melody.voices import KEYS, REST, START, Chords, Notes
from tests.models.tasks.melodies import SCALE, notes


def test_a_duration_counts_as_the_nearest_that_was_learnt() -> None:
    reading = Notes(State(form="monophonic", pitches=[60], shares=[1], durations=[0.25, 1.0, 4.0]))
    asked = [{"pitch": None, "duration": d} for d in (0.01, 0.25, 0.49, 0.51, 1.9, 2.1, 1000)]
    arrays = reading.read(Item(notes=asked))
    assert arrays["duration"].tolist() == [3, 0, 0, 0, 1, 1, 2, 2]
    assert arrays["pitch"].tolist() == [START] + [REST] * 7


def test_a_long_row_is_cut_and_every_step_is_learnt_once() -> None:
    config, row = MelodyConfig(window=10), Row(notes=notes(*SCALE * 5))
    state = CODEC.learn([row], config)
    made = list(CODEC.examples(row, state, config, "train"))
    assert [example.length for example in made] == [10, 10, 10, 5]
    assert made[0].arrays["pitch"][0] == START
    read = np.concatenate([example.arrays["pitch"][1:] for example in made])
    assert read.tolist() == [number(pitch) for pitch in SCALE * 5]
    assert all(one.arrays["pitch"][-1] == two.arrays["pitch"][0] for one, two in itertools.pairwise(made))


def test_transposing_shifts_each_melody_whole_and_keeps_it_playable() -> None:
    torch.manual_seed(0)
    pitch = torch.tensor([[START, 60, REST, 64], [START, 126, 127, 0], [START, 127, 3, 0]])
    lengths = torch.tensor([3, 2, 2])
    seen = [transposed({"pitch": pitch, "duration": pitch}, lengths, 5)["pitch"] for _ in range(60)]
    assert {int(found[0, 1]) for found in seen} == set(range(55, 66))
    assert all(int(found[0, 3] - found[0, 1]) == 4 and found[0, 2] == REST and found[0, 0] == START for found in seen)
    assert {int(found[1, 1]) for found in seen} == set(range(121, 127))
    assert all(found[2, 3] == 0 for found in seen)  # padding is no pitch
    roll = torch.zeros(2, 3, KEYS + 1)
    roll[0, 0, KEYS] = roll[0, 1, 40] = roll[0, 2, 44] = roll[1, 1, 0] = 1
    moved = [transposed({"roll": roll}, lengths[:2], 5)["roll"] for _ in range(60)]
    assert {int(found[0, 1].argmax()) for found in moved} == set(range(35, 46))
    assert all(int(found[0, 2].argmax() - found[0, 1].argmax()) == 4 and found[0, 0, KEYS] == 1 for found in moved)
    assert {int(found[1, 1].argmax()) for found in moved} == set(range(6))
    state = CODEC.learn([Row(notes=notes(60, 126))], MelodyConfig(transpose=2))
    assert state.pitches == [58, 59, 60, 61, 62, 124, 125, 126, 127]


def test_the_sample_is_a_valid_data_set() -> None:
    tally = MelodyTally()
    lines = (Path(models.tasks.melody.__path__[0]) / "sample.jsonl").read_text(encoding="utf-8").splitlines()
    for line, text in enumerate(lines, start=1):
        tally.add(Row.model_validate_json(text), line=line, part=None)
    assert tally.faults() == []
    assert tally.warnings() == []
    assert json.loads(json.dumps(tally.stats()))["melodies"] == len(lines) > 24


def counted(*rows: Row) -> MelodyTally:
    tally = MelodyTally()
    for line, row in enumerate(rows, start=1):
        tally.add(row, line=line, part=None)
    return tally


def test_statistics_say_what_a_person_wants_to_know() -> None:
    stats = counted(Row(notes=notes(60, None, 64)), Row(notes=notes(72, duration=0.5))).stats()
    assert stats["form"] == "monophonic"
    assert (stats["melodies"], stats["steps"], stats["shortest"], stats["longest"]) == (2, 4, 1, 3)
    assert (stats["lowest"], stats["highest"], stats["pitches"], stats["rests"]) == (60, 72, 3, 1)
    assert stats["durations"] == {"1": 3, "0.5": 1}
    assert counted(Row(steps=[[60, 64], []])).stats()["pitches_per_step"] == 1


def test_faults_and_warnings_across_rows_are_sentences() -> None:
    one, other = Row(notes=notes(60, 62)), Row(steps=[[60], [62]])
    assert counted(one, one, other).faults() == [
        (3, "some rows hold `notes` and others `steps`; a model is either monophonic or polyphonic")
    ]
    assert counted(other, Row(steps=[[60], [62]], step=0.25)).faults() == [
        (2, "a step lasts 1 quarter notes in some rows and 0.25 in others; one model has one grid")
    ]
    assert counted(Row(notes=notes(None))).faults() == [(None, "nothing but rests in the whole file")]
    assert counted(Row(notes=notes(60))).warnings() == ["1 melodies of a single step: nothing in them follows anything"]
    many = Row(notes=[{"pitch": 60, "duration": 1 + index / 100} for index in range(MOST_DURATIONS + 6)])
    assert counted(many).warnings() == [
        "70 different durations; the 64 most common are kept and the others rounded to them"
    ]
    assert len(CODEC.learn([many], MelodyConfig()).durations) == MOST_DURATIONS


def test_a_table_of_notes_becomes_melodies() -> None:
    lines: list[tuple[int, dict[str, Any]]] = [
        (2, {"id": "a", "pitch": "60", "duration": "0.5", "split": "train"}),
        (3, {"id": "a", "pitch": "E4", "duration": None, "split": "train"}),
        (4, {"id": "b", "pitch": None, "duration": "1", "split": "test"}),
        (5, {"notes": notes(60)}),
    ]
    found = [(line, Row.model_validate(record)) for line, record in table(iter(lines))]
    assert found == [
        (2, Row(notes=[{"pitch": 60, "duration": 0.5}, {"pitch": 64}], id="a", split="train")),
        (4, Row(notes=notes(None), id="b", split="test")),
        (5, Row(notes=notes(60))),
    ]


def test_keys_of_a_chord_are_where_a_piano_has_them() -> None:
    arrays = Chords(State(form="polyphonic", pitches=[60], shares=[1])).read(Item(steps=[["A0", "C8"], []]))
    assert arrays["roll"].shape == (3, KEYS + 1)
    assert [np.flatnonzero(row).tolist() for row in arrays["roll"]] == [[KEYS], [0, KEYS - 1], []]
    assert number("A0") == LOWEST_KEY
