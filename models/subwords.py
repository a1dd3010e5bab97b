"""Texts to subwords and back: byte pair encoding (Sennrich et al. 2016) as plain data. Knows characters, no task.

A text is cut at its spaces; each word, its leading space written as `SPACE`, begins as characters, and the
neighbours whose union was learnt first are joined until none is left to join. sentencepiece, loaded for that
alone, learns the pieces; what is kept is their list, in the order they were learnt, and cutting needs no more.
"""

from __future__ import annotations

import importlib
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise

from pydantic import Field

from models.task import Fault, Schema

PADDING, UNKNOWN, END = 0, 1, 2
"""Ids that no piece has. `END` closes a sequence, and opens the one that a decoder writes."""
FIRST = 3
"""The id of the first piece."""
SPACE = "▁"
"""How a space is written in a piece: U+2581, as sentencepiece does."""
LONGEST = 16
"""Characters of a piece at most."""
STRETCH = 100
"""Characters of a word that are joined together; a longer word is cut, so that cutting stays linear."""
COVERED = 0.98
"""Share of all characters that must have a piece, however many pieces that takes; sentencepiece wants it so."""
SEEN = 20
"""Characters to read for each piece learnt: few texts give short pieces, which stand in many words."""
REMEMBERED = 50_000
"""Words whose pieces are kept in memory."""

Pieces = list[tuple[int, str]]
"""Ids and what each was read from; a run of characters that no piece holds is one `UNKNOWN`, with the space before."""


class Subwords(Schema):
    """The pieces of one language."""

    pieces: list[str] = Field(min_length=1, description="In the order they were learnt: the first joins first.")

    def __len__(self) -> int:
        return len(self.pieces) + FIRST

    def split(self, text: str) -> Pieces:
        """The pieces of a text; none for a text without any visible character."""
        found: Pieces = []
        for word in normal(text).split():
            found += self._word(SPACE + word)
        return found

    def join(self, ids: Iterable[int], unknown: Sequence[str] = ()) -> str:
        """The text of ids; each `UNKNOWN` is the next of `unknown`, and nothing where there is none left."""
        rest = iter(unknown)
        texts = (next(rest, "") if i == UNKNOWN else self.pieces[i - FIRST] for i in ids if i not in (PADDING, END))
        return " ".join("".join(texts).replace(SPACE, " ").split())

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {piece: index for index, piece in enumerate(self.pieces, start=FIRST)}

    @cached_property
    def _alphabet(self) -> frozenset[str]:
        return frozenset(character for piece in self.pieces for character in piece)

    @cached_property
    def _seen(self) -> dict[str, Pieces]:
        return {}

    def _word(self, word: str) -> Pieces:
        found = self._seen.get(word)
        if found is None:
            known = [self._known(character) for character in word]
            found = []
            for start in range(0, len(known), STRETCH):
                for piece in self._joined(known[start : start + STRETCH]):
                    identity = self._ids.get(piece, UNKNOWN)
                    if identity == UNKNOWN and found and (found[-1][0] == UNKNOWN or found[-1][1] == SPACE):
                        found[-1] = (UNKNOWN, found[-1][1] + piece)
                    else:
                        found.append((identity, piece))
            if len(self._seen) < REMEMBERED:
                self._seen[word] = found
        return found

    def _known(self, character: str) -> str:
        """The character; where no piece holds it, its plain form (NFKC) or lower case if pieces hold that."""
        if character in self._alphabet:
            return character
        plain = unicodedata.normalize("NFKC", character)
        for form in (plain, character.lower(), plain.lower()):
            if len(form) == 1 and form in self._alphabet:
                return form
        return character

    def _joined(self, parts: list[str]) -> list[str]:
        """Join the two neighbours whose union was learnt first (the leftmost such), until none is left."""
        never = len(self.pieces) + FIRST
        ranks = [self._ids.get(one + two, never) for one, two in pairwise(parts)]
        while ranks and (least := min(ranks)) < never:
            at = ranks.index(least)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
            del ranks[at]
            for near in (at - 1, at):
                if 0 <= near < len(ranks):
                    ranks[near] = self._ids.get(parts[near] + parts[near + 1], never)
        return parts


def normal(text: str) -> str:
    """Composed characters (NFC) and single spaces; case and width are kept, control characters are not.

    The sign that stands for a space cannot stand for itself: it becomes an underscore.
    """
    composed = unicodedata.normalize("NFC", text)
    if not (composed.isascii() and composed.isprintable()):
        composed = _CONTROL.sub(lambda found: " " if found[0].isspace() else "", composed).replace(SPACE, "_")
    return " ".join(composed.split())


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def learn(texts: Iterable[str], *, most: int) -> Subwords:
    """About `most` pieces at most for the texts; the same for the same texts.

    Every character becomes a piece; where they are more than half of `most`, the rarest stay unknown.
    Raises `Fault` where the texts hold no character.
    """
    lines = [line for text in texts if (line := normal(text))]
    counts = Counter(character for line in lines for character in line.replace(" ", ""))
    if not counts:
        raise Fault("the texts hold no visible character to learn subwords from")
    share, kept = 0.0, 0
    for _, count in counts.most_common():
        if kept >= most // 2 and share >= COVERED:
            break
        share, kept = share + count / counts.total(), kept + 1
    written = io.BytesIO()
    library = importlib.import_module("sentencepiece")
    library.SentencePieceTrainer.train(
        sentence_iterator=(line[i : i + 1000] for line in lines for i in range(0, len(line), 1000)),
        model_writer=written,
        model_type="bpe",
        vocab_size=max(min(most, counts.total() // SEEN), kept + FIRST),
        hard_vocab_limit=False,
        character_coverage=min(1.0, share),
        normalization_rule_name="identity",
        max_sentencepiece_length=LONGEST,
        bos_id=-1,
        eos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    model = library.SentencePieceProcessor(model_proto=written.getvalue())
    return Subwords(pieces=[model.id_to_piece(i) for i in range(model.get_piece_size()) if not model.is_unknown(i)])
