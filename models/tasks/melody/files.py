"""MIDI and ABC files as melodies, and melodies as MIDI files. Loads mido and abcnotes where a file needs them.

Both libraries are Python through and through: a hostile file can raise in them, never crash the process.
"""

from __future__ import annotations

import importlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from models.archive import Archive
from models.readers import SUFFIXES, Bad, Record
from models.tasks.melody.pitches import HIGHEST, HIGHEST_KEY, LOWEST_KEY
from models.tasks.melody.sounds import TICKS, Sound, chords, grid, is_melody, melody, onsets, trimmed

MIDI, ABC = (".mid", ".midi"), (".abc",)
LARGEST_MIDI = 4 * 1024 * 1024
LARGEST_ABC = 8 * 1024 * 1024
LONGEST_TUNE = 100_000
"""Characters of one ABC tune at most."""
LONGEST_LINE = 4_000
MOST_PASSES = 16
"""How often an ABC section may be played."""
DRUMS = 9
"""The MIDI channel (from 0) whose notes are instruments, not pitches."""
RESOLUTION = 480
"""MIDI ticks of a quarter note in files that are written."""
PARTS = {"train": "train", "valid": "validation", "validation": "validation", "val": "validation", "test": "test"}
"""Folders of a zip that say which part a file lies in."""


def midi_sounds(data: bytes) -> list[Sound]:
    """What sounds in a MIDI file, all tracks together and drums left out. Raises ValueError, in a sentence."""
    if len(data) > LARGEST_MIDI:
        raise ValueError(f"a MIDI file of {len(data)} bytes; at most {LARGEST_MIDI}")
    try:
        file = importlib.import_module("mido").MidiFile(file=io.BytesIO(data), clip=True)
    except Exception:  # mido raises what its parsing happens to trip over
        raise ValueError("not a readable MIDI file") from None
    if file.type not in (0, 1):
        raise ValueError("a MIDI file of type 2, whose tracks are not played together")
    if file.ticks_per_beat <= 0:
        raise ValueError("a MIDI file that counts time in film frames, not in quarter notes")
    found: list[Sound] = []
    for track in file.tracks:
        found += _sounding(track, TICKS / file.ticks_per_beat)
    return trimmed(found)


def _sounding(track: Iterable[Any], scale: float) -> Iterator[Sound]:
    """The sounds of one track; a note that is struck again ends, and one that never ends lasts to the last event."""
    time, begun = 0, dict[tuple[int, int], float]()
    for message in track:
        time += message.time
        if message.type not in ("note_on", "note_off") or message.channel == DRUMS:
            continue
        key = message.channel, message.note
        if key in begun:
            yield Sound(round(begun.pop(key) * scale), round(time * scale), message.note)
        if message.type == "note_on" and message.velocity > 0:
            begun[key] = time
    for (_, note), start in begun.items():
        yield Sound(round(start * scale), round(time * scale), note)


def abc_tunes(data: bytes) -> list[list[Sound]]:
    """What sounds in each tune of an ABC file, repeats played. Raises ValueError, in a sentence."""
    if len(data) > LARGEST_ABC:
        raise ValueError(f"an ABC file of {len(data)} bytes; at most {LARGEST_ABC}")
    text = data.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    tunes = importlib.import_module("abcnotes").split_tunes(text)
    if not tunes:
        raise ValueError("no tune in it: an ABC tune begins with a line such as X:1")
    return [_tune(tune) for tune in tunes]


def _tune(text: str) -> list[Sound]:
    library = importlib.import_module("abcnotes")
    name = text[: text.find("\n")][:20]
    try:
        _check(text, library)
        bars = library.expand_repeats(library.Tune(abc=text).bars, strict=False)
        return trimmed(_timed((token for bar in bars for token in bar), library))
    except Exception as error:  # abcnotes raises what its parsing happens to trip over
        why = f": {str(error)[:200]}" if isinstance(error, ValueError) else ""
        raise ValueError(f"the tune {name} cannot be read{why}") from None


def _check(text: str, library: Any) -> None:
    """Raises ValueError on what would take abcnotes long to read, or is not read: long lines, endings of many
    passes (which it writes out), several voices."""
    if len(text) > LONGEST_TUNE:
        raise ValueError(f"{len(text)} characters; at most {LONGEST_TUNE}")
    _, _, body = text.partition("\nK:")
    for line in body.split("\n"):
        if len(line) > LONGEST_LINE:
            raise ValueError(f"a line of {len(line)} characters; at most {LONGEST_LINE}")
        if line.startswith("V:") or "[V:" in line:
            raise ValueError("it has several voices; write each as a tune of its own, or send it as MIDI")
        if line[1:2] == ":" and line[0] in library.tune_body_fields:
            continue
        music = re.sub(rf"\[[{''.join(library.inline_fields)}]:[^\]]+\]", " ", line)
        for endings in re.findall(r"[|:\[\]](\d+(?:[-,]\d+)*)", music):
            if any(len(count) > 2 or int(count) > MOST_PASSES for count in re.split("[-,]", endings)):
                raise ValueError(f"'{endings[:20]}' at a bar line; sections are played {MOST_PASSES} times at most")


def _timed(tokens: Iterable[Any], library: Any) -> Iterator[Sound]:
    """The sounds of a tune's tokens: chords together, ties joined, grace notes left out."""
    time, chord, tied = 0.0, list[Any](), dict[int, float]()
    inside = False
    for token in tokens:
        if isinstance(token, library.ChordBracket):
            inside = token._text.startswith("[")
            if inside:
                continue
            notes, chord = chord, []
        elif isinstance(token, library.Note) and not token.grace:
            if inside:
                chord.append(token)
                continue
            notes = [token]
        elif isinstance(token, library.Rest):
            time += _quarters(token)
            continue
        else:
            continue
        if not notes:
            continue
        going_on = {}
        for note in notes:
            pitch = 60 + note.pitch.abs_value
            if not 0 <= pitch <= HIGHEST:
                raise ValueError(f"the note '{note._text[:20]}' lies outside the MIDI range")
            start = tied.pop(pitch, time)
            if note.tie:
                going_on[pitch] = start
            else:
                yield Sound(round(start * TICKS), round((time + _quarters(note)) * TICKS), pitch)
        time += _quarters(notes[0])  # a chord is as long as its first note (ABC 2.1, 4.17)
        tied = going_on
    yield from (Sound(round(start * TICKS), round(time * TICKS), pitch) for pitch, start in tied.items())


def _quarters(token: Any) -> float:
    return float(4 * token.abs_duration)


def written(sounds: Sequence[tuple[float, float, int]]) -> bytes:
    """A MIDI file of (start, end, pitch) in quarter notes: one track, at 120 quarter notes a minute."""
    mido = importlib.import_module("mido")
    events = sorted(
        (round(time * RESOLUTION), kind, pitch)
        for start, end, pitch in sounds
        for time, kind in ((start, "note_on"), (end, "note_off"))
    )  # at one time "note_off" comes before "note_on", so that a repeated note is struck again
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=500_000), mido.Message("program_change", program=0)])
    before = 0
    for time, kind, pitch in events:
        track.append(mido.Message(kind, note=pitch, velocity=80 if kind == "note_on" else 0, time=time - before))
        before = time
    track.append(mido.MetaMessage("end_of_track"))
    buffer = io.BytesIO()
    mido.MidiFile(type=0, ticks_per_beat=RESOLUTION, tracks=[track]).save(file=buffer)
    return buffer.getvalue()


def rows(archive: Archive) -> Iterator[Record | Bad]:
    """The melodies of a zip: its MIDI and ABC files, or a table whose `notes` or `steps` name such files.

    Files all of whose melodies are of one voice become `notes`; where any has chords, all become `steps`, on the
    coarsest grid of quarter, eighth or sixteenth notes that holds nearly every onset. A file in a folder `train`,
    `validation` or `test` lies in that part.
    """
    if any(PurePosixPath(name).suffix.lower() in SUFFIXES for name in archive.names):
        for found in archive.rows({"notes": _one, "steps": _one}):
            yield found if isinstance(found, Bad) else _converted(*found)
        return
    held, total, polyphonic = Counter[int](), 0, False
    for _, _, sounds in _heard(archive):
        if not isinstance(sounds, Bad):
            held, total = held + onsets(sounds), total + len(sounds)
            polyphonic = polyphonic or not is_melody(sounds)
    step = grid(held, total)
    for number, name, sounds in _heard(archive):
        if isinstance(sounds, Bad):
            yield sounds
            continue
        part = next((PARTS[folder] for folder in PurePosixPath(name).parts[:-1] if folder in PARTS), None)
        try:
            form = {"steps": _keys(sounds, step), "step": step / TICKS} if polyphonic else {"notes": melody(sounds)}
            yield number, {"id": name[-200:], **form, "split": part}
        except ValueError as error:
            yield Bad(number, f"{name[:200]}: {error}")
    if not any(PurePosixPath(name).suffix.lower() in MIDI + ABC for name in archive.names):
        yield Bad(1, "the zip holds no MIDI file (.mid, .midi), no ABC file (.abc) and no table of rows")


def _heard(archive: Archive) -> Iterator[tuple[int, str, list[Sound] | Bad]]:
    """The melodies of each file, with the file's number and a name: the file's, or that of a tune in it."""
    for number, name, data in archive.files(MIDI + ABC):
        if isinstance(data, Bad):
            yield number, name, data
            continue
        try:
            tunes = _tunes(data)
        except ValueError as error:
            yield number, name, Bad(number, f"{name[:200]}: {error}")
            continue
        for index, tune in enumerate(tunes, start=1):
            yield number, name if len(tunes) == 1 else f"{name}#{index}", tune


def _tunes(data: bytes) -> list[list[Sound]]:
    return [midi_sounds(data)] if data.startswith(b"MThd") else abc_tunes(data)


def _one(data: bytes) -> list[Sound]:
    tunes = _tunes(data)
    if len(tunes) > 1:
        raise ValueError(f"{len(tunes)} tunes in one file; a row is one melody")
    return tunes[0]


def _converted(line: int, record: dict[str, Any]) -> Record | Bad:
    """A record of a table whose `notes` or `steps` may have become what sounds in a file."""
    try:
        if _heard_in(record.get("notes")):
            if not is_melody(record["notes"]):
                raise ValueError("several pitches sound at once; name the file as `steps`")
            return line, {**record, "notes": melody(record["notes"])}
        if _heard_in(record.get("steps")):
            ticks = float(record.get("step") or 1) * TICKS
            if not ticks.is_integer() or ticks < 1:
                raise ValueError(f"a step of {record['step']} quarter notes; it must be a multiple of 1/{TICKS}")
            return line, {**record, "steps": _keys(record["steps"], int(ticks))}
        return line, record
    except (ValueError, TypeError) as error:
        return Bad(line, str(error))


def _heard_in(cell: Any) -> bool:
    return isinstance(cell, list) and bool(cell) and isinstance(cell[0], Sound)


def _keys(sounds: Sequence[Sound], step: int) -> list[list[int]]:
    outside = next((sound.pitch for sound in sounds if not LOWEST_KEY <= sound.pitch <= HIGHEST_KEY), None)
    if outside is not None:
        raise ValueError(f"pitch {outside} lies outside the piano's keys, {LOWEST_KEY} to {HIGHEST_KEY}")
    return chords(sounds, step)
