"""Tags of steps to spans of entities and back: BIO (IOB2), IOB1, BIOES and BILOU. Knows letters, no text.

All of these say of a step where in an entity it lies. They are read by one rule, which needs not be told
which of them it reads: an entity goes on with I, E or L of its own label unless E, L, S or U ended it, and
anything else begins one. What is written is BIO: B-label, then I-label, else O.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

OUTSIDE = "O"
TAG = re.compile(r"O|[BIESLU]-.+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Span:
    """An entity from step `start` up to `end`, and how it was written: its tags' letters."""

    start: int
    end: int
    label: str
    letters: str


def spans(tags: Sequence[str]) -> list[Span]:
    """The entities that tags of any of the schemes tell, in order; they never overlap."""
    found: list[Span] = []
    ended = True
    for step, tag in enumerate(tags):
        letter, _, label = tag.partition("-")
        if letter == OUTSIDE:
            ended = True
        elif letter in "IEL" and not ended and found[-1].label == label:
            last = found[-1]
            found[-1] = Span(last.start, step + 1, label, last.letters + letter)
            ended = letter in "EL"
        else:
            found.append(Span(step, step + 1, label, letter))
            ended = letter in "ESLU"
    return found


def bio(found: Sequence[tuple[int, int, str]], steps: int) -> list[str]:
    """The BIO tags of so many steps with these entities: (start, end, label) each, none overlapping."""
    tags = [OUTSIDE] * steps
    for start, end, label in found:
        tags[start] = f"B-{label}"
        tags[start + 1 : end] = [f"I-{label}"] * (end - start - 1)
    return tags


def scheme(letters: set[str], *, needless: int, unbegun: int) -> str:
    """The scheme of a file by the letters in it, the entities that B begins although no other touches them
    (`needless`: IOB1 has none), and those that I begins (`unbegun`: BIO has none)."""
    if letters & {"E", "S"}:
        return "BIOES"
    if letters & {"L", "U"}:
        return "BILOU"
    return "IOB1" if unbegun and not needless else "BIO"


def fits(span: Span, kind: str) -> bool:
    """Whether an entity is written as the scheme wants it."""
    if kind == "IOB1":
        return True
    if kind == "BIO":
        return span.letters[0] == "B"
    single, last = ("S", "E") if kind == "BIOES" else ("U", "L")
    inside = "I" * (len(span.letters) - 2)
    return span.letters == (single if len(span.letters) == 1 else f"B{inside}{last}")
