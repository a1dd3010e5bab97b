"""Pitches as MIDI numbers, by number or by name. Knows names and the keyboard, no melody."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

HIGHEST = 127
LOWEST_KEY, HIGHEST_KEY = 21, 108
"""The piano's 88 keys, A0 to C8."""

LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
BENDS = {"#": 1, "♯": 1, "b": -1, "♭": -1}
NAME = re.compile(r"([A-Ga-g])([#♯b♭]{0,2})(-?\d)?")


def number(pitch: Any) -> Any:
    """The MIDI number of a name: "C4" is 60, and without an octave a name lies in the fourth, as "C" does.

    What is no text is given back for the schema to judge. Raises ValueError on a text that is no name.
    """
    if isinstance(pitch, bool):
        raise ValueError("true and false are no pitches")
    if not isinstance(pitch, str):
        return pitch
    found = NAME.fullmatch(pitch.strip())
    if found is None:
        raise ValueError(f"'{pitch[:40]}' names no pitch; a MIDI number such as 60 or a name such as C4, F#3, Bb does")
    letter, bends, octave = found.groups()
    return 12 * (int(octave or 4) + 1) + LETTERS[letter.upper()] + sum(BENDS[bend] for bend in bends)


def _shape(low: int, high: int) -> dict[str, Any]:
    named = {"type": "string", "pattern": r"^[A-Ga-g][#♯b♭]{0,2}(-?\d)?$", "examples": ["C4", "F#3", "Bb"]}
    return {"anyOf": [{"type": "integer", "minimum": low, "maximum": high}, named]}


Pitch = Annotated[int, BeforeValidator(number), Field(ge=0, le=HIGHEST), WithJsonSchema(_shape(0, HIGHEST))]
Key = Annotated[
    int,
    BeforeValidator(number),
    Field(ge=LOWEST_KEY, le=HIGHEST_KEY),
    WithJsonSchema(_shape(LOWEST_KEY, HIGHEST_KEY)),
]
"""A pitch that a piano has."""
