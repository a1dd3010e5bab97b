"""MIDI and ABC files: what sounds in them, what they become in a zip, and what hostile ones are told."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import mido
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.archive import Archive
from models.readers import Bad
from models.tasks.melody.files import abc_tunes, midi_sounds, rows, written
from models.tasks.melody.schema import Output, Row, to_midi
from models.tasks.melody.sounds import MOST_STEPS, Sound, chords, held, is_melody, melody, played

Event = tuple[int, str, int, int]
"""Ticks since the one before, its kind, pitch, channel."""


def midi(*tracks: Iterable[Event], beat: int = 96, kind: int = 1) -> bytes:
    made = []
    for events in tracks:
        track = mido.MidiTrack([mido.MetaMessage("track_name", name="a track")])
        for time, name, pitch, channel in events:
            track.append(mido.Message(name, note=pitch, velocity=64, time=time, channel=channel))
        made.append(track)
    buffer = io.BytesIO()
    mido.MidiFile(type=kind, ticks_per_beat=beat, tracks=made).save(file=buffer)
    return buffer.getvalue()


def line(*pitches: int, length: int = 96, channel: int = 0) -> list[Event]:
    return [event for p in pitches for event in ((0, "note_on", p, channel), (length, "note_off", p, channel))]


def abc(music: str, *, key: str = "C", head: str = "L:1/4") -> bytes:
    return f"X:1\nT:a tune\nM:4/4\n{head}\nK:{key}\n{music}\n".encode()


def quarters(sounds: list[Sound]) -> list[tuple[float, float, int]]:
    return [(sound.start / 24, sound.end / 24, sound.pitch) for sound in sounds]


def zipped(folder: Path, files: Mapping[str, bytes | str]) -> Archive:
    path = folder / "music.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, data in files.items():
            file.writestr(name, data)
    return Archive(path)


# MIDI


def test_a_midi_file_is_heard_from_its_first_note_all_tracks_together_without_drums() -> None:
    one = [(960, "note_on", 60, 0), (96, "note_off", 60, 0), (48, "note_on", 62, 0), (32, "note_off", 62, 0)]
    data = midi(one, line(48, channel=1), line(35, channel=9))
    assert quarters(midi_sounds(data)) == [(0, 1, 48), (10, 11, 60), (11.5, pytest.approx(11.833, abs=0.01), 62)]


def test_a_note_that_never_ends_or_is_struck_again_is_heard() -> None:
    data = midi([(0, "note_on", 60, 0), (96, "note_on", 60, 0), (96, "note_on", 64, 0), (96, "note_off", 64, 0)])
    assert quarters(midi_sounds(data)) == [(0, 1, 60), (1, 3, 60), (2, 3, 64)]


def test_a_continuation_is_a_midi_file_that_is_heard_as_it_was_meant() -> None:
    notes = [
        {"pitch": 60, "duration": 1.5},
        {"pitch": None, "duration": 0.5},
        {"pitch": 60},
        {"pitch": 127, "duration": 1 / 3},
    ]
    data = to_midi(Output.model_validate({"notes": notes, "nll": 1.0, "seed": 0}))
    assert data.startswith(b"MThd")
    assert melody(midi_sounds(data)) == [
        note | {"duration": pytest.approx(note.get("duration", 1.0))} for note in notes
    ]
    assert sum(message.time for message in mido.MidiFile(file=io.BytesIO(data))) == pytest.approx(10 / 3 / 2, abs=0.01)


def test_chords_are_held_while_they_sound_on() -> None:
    steps = [[60, 64], [60, 65], [], [60]]
    data = to_midi(Output(steps=steps, step=0.5, nll=1.0, seed=0))
    assert quarters(midi_sounds(data)) == [(0, 0.5, 64), (0, 1, 60), (0.5, 1, 65), (1.5, 2, 60)]
    assert chords(midi_sounds(data), 12) == steps


def test_nothing_to_play_is_a_midi_file_all_the_same() -> None:
    for output in (Output(notes=[], nll=1.0, seed=0), Output(steps=[[]], step=1.0, nll=1.0, seed=0)):
        found = mido.MidiFile(file=io.BytesIO(to_midi(output)))
        assert not [message for message in found if message.type == "note_on"]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a readable MIDI file"),
        (b"MThd", "not a readable MIDI file"),
        (b"\x00\xff" * 50, "not a readable MIDI file"),
        (midi(line(60))[:-9], "not a readable MIDI file"),
        (midi(line(60), kind=2), "a MIDI file of type 2"),
        (midi(line(60)).replace(b"\x00\x60MTrk", b"\xe7\x28MTrk"), "counts time in film frames"),
        (midi(line(60)).replace(b"\x00\x60MTrk", b"\x00\x00MTrk"), "counts time in film frames"),
        (midi([]), "no note sounds in it"),
        (midi(line(35, channel=9)), "no note sounds in it"),
        (midi([(0, "note_on", 60, 0), (2**27, "note_off", 60, 0)], beat=1), f"longer than {MOST_STEPS} quarter notes"),
        (b"MThd" + bytes(5 * 1024 * 1024), "a MIDI file of 5242884 bytes; at most"),
    ],
)
def test_a_hostile_midi_file_is_a_sentence(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        midi_sounds(data)


@given(st.binary(max_size=300), st.integers(0, 60))
def test_any_bytes_are_heard_or_refused(data: bytes, cut: int) -> None:
    for tried in (data, midi(line(60, 62, 64))[: cut + 14] + data):
        for read in (midi_sounds, abc_tunes):
            with contextlib.suppress(ValueError):
                assert read(tried)


# ABC


def test_an_abc_tune_is_heard_with_its_key_its_rhythm_and_its_repeats() -> None:
    (found,) = abc_tunes(abc("|:D F/2G/2 z (3A/B/c/|1 d2:|2 D>E|]", key="D"))
    once = [
        (0, 1, 62),
        (1, 1.5, 66),
        (1.5, 2, 67),
        *((3 + i / 3, 3 + (i + 1) / 3, p) for i, p in enumerate((69, 71, 73))),
    ]
    again = [(start + 6, end + 6, pitch) for start, end, pitch in once]
    last = [(10, 11.5, 62), (11.5, 12, 64)]
    assert quarters(found) == [pytest.approx(sound) for sound in [*once, (4, 6, 74), *again, *last]]


def test_ties_chords_grace_notes_and_accidentals() -> None:
    (found,) = abc_tunes(abc("^F-F F =F | {ag}F [CEG]2 [K:G] F_E | c-"))
    assert quarters(found) == [(0, 2, 66), (2, 3, 66), (3, 4, 65), (4, 5, 65), (5, 7, 60), (5, 7, 64), (5, 7, 67),
                               (7, 8, 66), (8, 9, 63), (9, 10, 72)]  # fmt: skip


def test_a_file_of_several_tunes_and_windows_line_ends() -> None:
    text = "﻿X:1\r\nT:Salt & [9] pepper 1-99\r\nQ:1/4=120\r\nK:C\r\n[Q:1/4=140]C D\r\n\r\nX:2\r\nK:F\r\nB\r\n".encode()
    assert [[sound.pitch for sound in tune] for tune in abc_tunes(text)] == [[60, 62], [70]]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no tune in it: an ABC tune begins with a line such as X:1"),
        (b"hello", "no tune in it"),
        (b"X:1\n", "the tune X:1 cannot be read"),
        (abc("z4"), "no note sounds in it"),
        (abc("C", key="Z#"), "Invalid key"),
        (abc("C", head="L:1/0"), "the tune X:1 cannot be read"),
        (abc("V:1\nC\nV:2\nE"), "several voices"),
        (abc("C [V:2] E"), "several voices"),
        (abc("C,,,,,,,,"), "lies outside the MIDI range"),
        (abc("C" * 5000), "a line of 5000 characters; at most 4000"),
        (abc("C\n" * 60_000), "characters; at most 100000"),
        (abc("|:C|1-999999999 D:|"), "sections are played 16 times at most"),
        (abc("c:1-999999999 d|"), "sections are played 16 times at most"),
        (abc("[Z:1-999999999]C"), "sections are played 16 times at most"),
        (abc("C" + "9" * 400), "the tune X:1 cannot be read"),
        (abc("C999999999"), "longer than 100000 quarter notes"),
        (abc("C" + "/" * 3000), "the tune X:1 cannot be read"),
    ],
)
def test_a_hostile_abc_file_is_a_sentence(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        abc_tunes(data)


@given(st.text("ABCdefgz|:[]()<>-_^=0123456789,'/{}&!\"VKLMPQ\n ", max_size=200))
def test_any_tune_is_heard_or_refused(music: str) -> None:
    with contextlib.suppress(ValueError):
        assert abc_tunes(abc(music))


# zips


def test_a_zip_of_melodies_gives_notes_and_folders_name_the_parts(tmp_path: Path) -> None:
    legato = [(0, "note_on", 60, 0), (96, "note_on", 62, 0), (6, "note_off", 60, 0), (90, "note_off", 62, 0)]
    files = {
        "set/train/a.mid": midi(legato),
        "set/valid/b.abc": abc("C z D2"),
        "set/test/c.MIDI": midi(line(64)),
        "readme.md": b"",
    }
    found = [row for row in rows(zipped(tmp_path, files)) if not isinstance(row, Bad)]
    made = [Row.model_validate(record) for _, record in found]
    assert [(row.id, row.split) for row in made] == [
        ("set/test/c.MIDI", "test"), ("set/train/a.mid", "train"), ("set/valid/b.abc", "validation")
    ]  # fmt: skip
    assert [[(note.pitch, note.duration) for note in row.notes or ()] for row in made] == [
        [(64, 1)], [(60, 1), (62, 1)], [(60, 1), (None, 1), (62, 2)]
    ]  # fmt: skip


@pytest.mark.parametrize(("length", "step"), [(96, 1.0), (48, 0.5), (24, 0.25), (16, 0.25)])
def test_where_chords_sound_all_become_steps_on_the_coarsest_grid_that_holds_them(
    tmp_path: Path, length: int, step: float
) -> None:
    files = {"a.mid": midi(line(*[60, 62] * 20, length=length), line(*[48] * 40, length=length)), "b.abc": abc("E")}
    found = [Row.model_validate(row[1]) for row in rows(zipped(tmp_path, files)) if not isinstance(row, Bad)]
    assert [row.step for row in found] == [step, step]
    assert (found[0].steps or [])[:1] == [[48, 60]]
    assert found[1].steps == [[64]] * int(1 / step)


def test_a_table_may_name_the_files(tmp_path: Path) -> None:
    table = "notes,split\na.abc,test\nchord.abc,train\ngone.mid,train\ntwo.abc,train\n"
    files = {"rows.csv": table, "a.abc": abc("C D"), "chord.abc": abc("[CE]"), "two.abc": abc("C") + b"\n" + abc("D")}
    good, *bad = rows(zipped(tmp_path, files))
    assert not isinstance(good, Bad)
    assert Row.model_validate(good[1]) == Row.model_validate({"notes": [{"pitch": 60}, {"pitch": 62}], "split": "test"})
    assert bad == [
        Bad(3, "several pitches sound at once; name the file as `steps`"),
        Bad(4, "the zip holds no file 'gone.mid'"),
        Bad(5, "2 tunes in one file; a row is one melody"),
    ]


def test_a_table_may_name_chords_and_their_grid(tmp_path: Path) -> None:
    lines = [{"steps": "a.abc", "step": 0.5}, {"steps": "a.abc"}, {"steps": [[60]]}, {"steps": "a.abc", "step": 0.3}]
    files = {"rows.jsonl": "\n".join(map(json.dumps, lines)), "a.abc": abc("[CE] G/G/")}
    *good, bad = rows(zipped(tmp_path, files))
    made: list[Any] = [Row.model_validate(row[1]).steps for row in good if not isinstance(row, Bad)]
    assert made == [[[60, 64], [60, 64], [67], [67]], [[60, 64], [67]], [[60]]]
    assert bad == Bad(4, "a step of 0.3 quarter notes; it must be a multiple of 1/24")


def test_what_a_zip_lacks_or_spoils_is_told_by_file(tmp_path: Path) -> None:
    assert list(rows(zipped(tmp_path, {"readme.md": b""}))) == [
        Bad(1, "the zip holds no MIDI file (.mid, .midi), no ABC file (.abc) and no table of rows")
    ]
    deep = midi(line(10, 12), line(100, 100))
    found = list(rows(zipped(tmp_path, {"a.mid": b"MThd!", "b.mid": deep, "c.abc": b"?", "d.abc": abc("C")})))
    assert found[:3] == [
        Bad(1, "a.mid: not a readable MIDI file"),
        Bad(2, "b.mid: pitch 10 lies outside the piano's keys, 21 to 108"),
        Bad(3, "c.abc: no tune in it: an ABC tune begins with a line such as X:1"),
    ]
    assert not isinstance(found[3], Bad)


def test_one_pitch_at_a_time_is_a_melody() -> None:
    assert is_melody([Sound(0, 24, 60), Sound(24, 48, 60), Sound(60, 70, 62)])
    assert is_melody([Sound(0, 27, 60), Sound(24, 48, 62)])
    assert not is_melody([Sound(0, 28, 60), Sound(24, 48, 62)])
    assert not is_melody([Sound(0, 2, 60), Sound(0, 2, 62)])


def test_time_passes_silently_in_a_rest_and_a_key_is_held_over_steps() -> None:
    assert played([(60, 1.0), (None, 0.5), (62, 0.25)]) == [(0, 1, 60), (1.5, 1.75, 62)]
    assert held([[60], [60, 62], [62]], 0.5) == [(0, 1, 60), (0.5, 1.5, 62)]
    assert mido.MidiFile(file=io.BytesIO(written([(0, 1, 60), (1, 2, 60)]))).length == pytest.approx(1)
