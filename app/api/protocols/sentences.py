"""Cuts texts and markup into the sentences that are translated one by one, and joins them again. Knows no model."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

GAP = re.compile(r"\s+|(?<=[。！？])(?=\S)")
"""Where a sentence or a line may end."""
ENDS = ".!?…。！？"
ABBREVIATED = re.compile(r"(?<!\w)\w{1,2}\.$")
TAG = re.compile(r"(<[^<>]*>)")
CODE = re.compile(r"<(script|style)\b", re.IGNORECASE)


@dataclass(slots=True)
class Text:
    """A text in parts: those to translate, and what stands between them and stays."""

    parts: list[str]
    places: list[int]
    """Which parts are to be translated."""
    escaped: bool

    def joined(self, translations: Sequence[str]) -> str:
        """The text with its parts translated."""
        parts = list(self.parts)
        for place, translation in zip(self.places, translations, strict=True):
            parts[place] = html.escape(translation, quote=False) if self.escaped else translation
        return "".join(parts)


def cut(text: str, *, markup: bool) -> Text:
    """A text cut into sentences and lines; of markup, into the same between its tags."""
    made = Text(parts=[], places=[], escaped=markup)
    kept_until: str | None = None
    for index, stretch in enumerate(TAG.split(text) if markup else [text]):
        opened = CODE.match(stretch) if index % 2 else None
        if index % 2 and kept_until is not None and stretch.lower().startswith(kept_until):
            kept_until = None
        elif opened and kept_until is None:
            kept_until = f"</{opened[1].lower()}"
        if index % 2 or kept_until is not None:
            made.parts.append(stretch)
            continue
        for sentence, between in _sentences(html.unescape(stretch) if markup else stretch):
            if sentence:
                made.places.append(len(made.parts))
                made.parts.append(sentence)
            made.parts.append(html.escape(between, quote=False) if markup else between)
    return made


def _sentences(text: str) -> Iterator[tuple[str, str]]:
    """Sentences or lines, each with the blanks after it. A point ends one before a capital, unless it follows one or
    two letters, as in Mr."""
    lead = len(text) - len(text.lstrip())
    if lead:
        yield "", text[:lead]
    end = len(text.rstrip()) if lead < len(text) else lead
    at = lead
    for gap in GAP.finditer(text, lead, end):
        if _ends(text, gap):
            yield text[at : gap.start()], gap[0]
            at = gap.end()
    if at < end or end < len(text):
        yield text[at:end], text[end:]


def _ends(text: str, gap: re.Match[str]) -> bool:
    """Whether a sentence or a line ends before a gap."""
    before = text[gap.start() - 1]
    if "\n" in gap[0] or before not in ENDS:
        return "\n" in gap[0]
    if before != ".":
        return True
    return text[gap.end()].isupper() and not ABBREVIATED.search(text, max(0, gap.start() - 3), gap.start())
