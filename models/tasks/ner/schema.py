"""What may be asked about the entities of a text, and what is answered. Pydantic only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from models.families.tag.schema import TagState
from models.tables import cells
from models.task import Card, Config, Line, Part, Schema, Tally
from models.tasks.ner.tags import TAG, Span, bio, fits, scheme, spans
from models.tasks.ner.tokens import places
from models.vocab import Vocabulary

MOST_LABELS = 200
"""Kinds of entities: the work of decoding grows with their square."""

Text = Annotated[str, Field(min_length=1, max_length=100_000)]
Token = Annotated[str, Field(min_length=1, max_length=1000)]
Tokens = Annotated[list[Token], Field(min_length=1, max_length=100_000)]
Label = Annotated[str, Field(min_length=1, max_length=100)]


class NerItem(Schema):
    """A text, or the tokens of one."""

    text: Text | None = Field(default=None, description="The text, as a person wrote it; cut into tokens here.")
    tokens: Tokens | None = Field(default=None, description="The tokens, where the text is cut already.")

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.text is None) == (self.tokens is None):
            raise ValueError("either `text` or `tokens` is expected, and not both")
        return self


class Marked(Schema):
    """An entity in the text of a row: characters (Unicode code points) from `start` up to `end`."""

    start: int = Field(ge=0)
    end: int
    label: Label
    text: str | None = Field(default=None, description="The entity's own text, where it is to be checked.")


class Row(NerItem):
    """Tokens with their tags (BIO, IOB1, BIOES, BILOU), or a text with its entities."""

    tags: list[str] | None = None
    entities: list[Marked] | None = None
    split: Part | None = None

    @field_validator("tags")
    @classmethod
    def _known(cls, tags: list[str] | None) -> list[str] | None:
        for place, tag in enumerate(tags or ()):
            if not TAG.fullmatch(tag):
                raise ValueError(
                    f"tag {place} is '{tag[:80]}': `O`, or B, I, E, S, L or U with a label, as in `B-PER`, is expected"
                )
        return tags

    @model_validator(mode="after")
    def _answered(self) -> Self:
        if self.tokens is not None:
            if self.tags is None or self.entities is not None:
                raise ValueError("tokens come with `tags`, one for each; a text comes with `entities`")
            if len(self.tokens) != len(self.tags):
                tokens, tags = len(self.tokens), len(self.tags)
                raise ValueError(f"{tokens} token{'' if tokens == 1 else 's'} but {tags} tag{'' if tags == 1 else 's'}")
            return self
        if self.entities is None or self.tags is not None:
            raise ValueError("a text comes with `entities`; tokens come with `tags`, one for each")
        self._check_entities(self.text or "", sorted(self.entities, key=lambda e: (e.start, e.end)))
        return self

    def _check_entities(self, text: str, entities: list[Marked]) -> None:
        for entity in entities:
            said = f"the entity '{entity.label}' {entity.start}:{entity.end}"
            if not entity.start < entity.end <= len(text):
                raise ValueError(f"{said} does not lie within a text of {len(text)} characters")
            if entity.text not in (None, text[entity.start : entity.end]):
                raise ValueError(f"{said} is '{text[entity.start : entity.end][:80]}', not '{entity.text[:80]}'")
        for one, other in pairwise(entities):
            if other.start < one.end:
                raise ValueError(
                    f"the entities '{one.label}' {one.start}:{one.end} and '{other.label}' {other.start}:{other.end} "
                    "overlap; a step has one label"
                )
        end = 0
        for entity, (start, after) in zip(entities, self._covered(entities), strict=True):
            said = f"the entity '{entity.label}' {entity.start}:{entity.end}"
            if start == after:
                raise ValueError(f"{said} covers no token, only '{text[entity.start : entity.end][:80]}'")
            if start < end:
                token = text[slice(*self.places[start])]
                raise ValueError(f"{said} lies in the token '{token[:80]}' that the entity before it reaches into")
            end = after

    def _covered(self, entities: list[Marked]) -> list[tuple[int, int]]:
        """The tokens of each entity, by start and end: all that share a character with it."""
        found, token = [], 0
        for entity in entities:
            while token > 0 and self.places[token - 1][1] > entity.start:
                token -= 1
            while token < len(self.places) and self.places[token][1] <= entity.start:
                token += 1
            after = token
            while after < len(self.places) and self.places[after][0] < entity.end:
                after += 1
            found.append((token, after))
            token = after
        return found

    @cached_property
    def places(self) -> list[tuple[int, int]]:
        """Start and end of each token of a text."""
        return places(self.text or "")

    @cached_property
    def words(self) -> list[str]:
        """The tokens, given or cut."""
        return self.tokens if self.tokens is not None else [self.text[a:b] for a, b in self.places]  # type: ignore[index]

    @cached_property
    def spans(self) -> list[Span]:
        """The entities, by steps."""
        if self.tags is not None:
            return spans(self.tags)
        entities = sorted(self.entities or (), key=lambda e: (e.start, e.end))
        covered = zip(entities, self._covered(entities), strict=True)
        return [Span(start, end, entity.label, "B" + "I" * (end - start - 1)) for entity, (start, end) in covered]

    @property
    def bio(self) -> list[str]:
        """The tag of each token, in BIO."""
        return bio([(span.start, span.end, span.label) for span in self.spans], len(self.words))

    @property
    def widened(self) -> list[str]:
        """The tokens that an entity begins or ends within, and gets whole."""
        bounds = {place for entity in self.entities or () for place in (entity.start, entity.end)}
        return [self.text[a:b] for a, b in self.places if any(place in bounds for place in range(a + 1, b))]  # type: ignore[index]


class NerEntity(Schema):
    """One entity found."""

    label: str
    start: int = Field(ge=0, description="Where it begins: a character (Unicode code point) of the text, or a token.")
    end: int = Field(ge=1, description="Where it has ended: the first character, or token, after it.")
    text: str = Field(description="The text from `start` to `end`; tokens are joined by spaces.")
    score: float = Field(ge=0, le=1, description="Probability that just this stretch is an entity of this label.")


class NerOutput(Schema):
    """The entities of a text, and the tag of each token."""

    entities: list[NerEntity]
    tokens: list[str]
    tags: list[str] = Field(description="One BIO tag for each token.")


class NerConfig(Config):
    """Options of one training run of a tagger of entities."""

    hidden: int = Field(128, ge=1, le=2048, description="Units of each layer and direction.")
    bidirectional: bool = Field(True, description="Read each text in both directions.")
    dropout: float = Field(0.5, ge=0.0, lt=1.0, description="Share of activations dropped while learning.")
    epochs: int = Field(25, ge=1, le=10_000, description="Passes over the training part at most.")
    patience: int = Field(8, ge=1, le=10_000, description="Epochs without a better score before stopping.")
    batch_steps: int = Field(768, ge=1, le=10_000_000, description="Padded tokens in one batch at most.")
    embedding: int = Field(100, ge=1, le=1024, description="Width of a word's learnt vector.")
    filters: int = Field(64, ge=1, le=1024, description="Filters of the convolution over the characters of a word.")
    kernel: int = Field(3, ge=1, le=15, description="Characters that a filter sees at once.")
    word_dropout: float = Field(
        0.15, ge=0.0, lt=1.0, description="Share of words made unknown while learning, so that spelling must do."
    )
    readers: int = Field(
        1,
        ge=1,
        le=8,
        description="Networks that read side by side and learn each for itself; their scores are averaged.",
    )
    vectors: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
        description="Uploaded word vectors to read beside those that are learnt; they stay as they are.",
    )
    vector_rows: int = Field(
        30_000,
        ge=0,
        le=1_000_000,
        description="Rows of given vectors kept for words that stand in no training row, in the file's order.",
    )
    min_count: int = Field(1, ge=1, le=1000, description="A word rarer than this in the training part is unknown.")
    max_words: int = Field(50_000, ge=1, le=1_000_000, description="Words of the training part known at most.")
    max_tokens: int = Field(
        256, ge=1, le=10_000, description="A longer text is read in windows of so many tokens, cut after sentences."
    )


class State(TagState):
    """What is counted before learning."""

    words: list[str]
    """Words of the training part, in lower case."""
    characters: list[str]
    readers: int = 1
    given: list[str] = []
    """Words of given vectors."""
    given_rows: list[int] = []
    """The row of the table of given vectors that each of these has; some share one."""
    given_cases: list[int] = []
    """In which cases each of them is known, bit by bit: lower, with a capital, in capitals."""
    least: float | None = None
    """The probability of an entity that is told, at least, so that as many are as serve F1 best; None: those of the
    likeliest path are told."""
    vector_width: int | None = None

    @cached_property
    def word_index(self) -> Vocabulary:
        """The ids of learnt words."""
        return Vocabulary(self.words)

    @cached_property
    def given_index(self) -> dict[str, tuple[int, int]]:
        """The row and the cases of each word of given vectors."""
        return dict(zip(self.given, zip(self.given_rows, self.given_cases, strict=True), strict=True))

    @cached_property
    def character_index(self) -> Vocabulary:
        """The ids of characters."""
        return Vocabulary(self.characters)


class NerTally(Tally):
    """Counts tokens and entities, and how they are written."""

    def __init__(self) -> None:
        self.rows = self.tokens = self.longest = 0
        self.entities: Counter[str] = Counter()
        self.taught: set[str] = set()
        """Labels that the training part may hold: those of its rows, and of rows that name no part."""
        self.crowded: int | None = None
        self.letters: set[str] = set()
        self.needless = 0
        self.misfits: dict[str, tuple[int, int]] = {}
        """Of each scheme, the entities not written as it wants them, and the line of the first."""
        self.widened: tuple[int, int, str] | None = None
        """Entities that end within a token: how many, the first one's line and token."""

    def add(self, row: Row, *, line: int, part: Part | None) -> None:
        self.rows += 1
        self.tokens += len(row.words)
        self.longest = max(self.longest, len(row.words))
        if row.tags is not None:
            self._written(row.spans, line)
        for span in row.spans:
            if span.label not in self.entities and len(self.entities) >= MOST_LABELS:
                self.crowded = self.crowded or line
                continue
            self.entities[span.label] += 1
            if part in ("train", None):
                self.taught.add(span.label)
        for token in row.widened:
            count, first, example = self.widened or (0, line, token)
            self.widened = (count + 1, first, example)

    def _written(self, found: list[Span], line: int) -> None:
        before: Span | None = None
        for span in found:
            self.letters.update(span.letters)
            touching = before is not None and before.end == span.start and before.label == span.label
            self.needless += span.letters[0] == "B" and not touching
            before = span
            for kind in ("BIO", "BIOES", "BILOU"):
                if not fits(span, kind):
                    count, first = self.misfits.get(kind, (0, line))
                    self.misfits[kind] = (count + 1, first)

    @property
    def scheme(self) -> str | None:
        """How tags were written; None where there were none."""
        if not self.letters:
            return None
        return scheme(self.letters, needless=self.needless, unbegun=self.misfits.get("BIO", (0, 0))[0])

    def stats(self) -> dict[str, Any]:
        return {
            "entities": dict(self.entities.most_common()),
            "tokens": self.tokens,
            "mean_tokens": round(self.tokens / max(1, self.rows), 1),
            "longest_tokens": self.longest,
            **({} if self.scheme is None else {"scheme": self.scheme}),
        }

    def faults(self) -> list[tuple[int | None, str]]:
        if self.crowded is not None:
            return [(self.crowded, f"more than {MOST_LABELS} different labels of entities")]
        if self.rows and not self.taught:
            where = "the training part holds" if self.entities else "the rows hold"
            return [(None, f"{where} no entity; there is nothing to learn")]
        return []

    def warnings(self) -> list[str]:
        found = []
        kind = self.scheme
        if kind in self.misfits:
            count, line = self.misfits[kind]
            found.append(
                f"{count} entit{'y is' if count == 1 else 'ies are'} not written as {kind} wants it, the first on line "
                f"{line}; one was taken to begin wherever none of its label went on"
            )
        if self.widened is not None:
            count, line, token = self.widened
            found.append(
                f"entities begin or end within {count} token{'' if count == 1 else 's'}, the first on line {line} "
                f"within '{token[:80]}'; they are learnt with the whole token"
            )
        found += [f"'{label}' has one entity; add more or drop it" for label, n in self.entities.items() if n == 1]
        untaught = [label for label in self.entities if label not in self.taught]
        return found + [f"'{label}' stands in no training row and cannot be learnt" for label in untaught]


def table(lines: Iterator[Line]) -> Iterator[Line]:
    """A table as rows: `tokens` and `tags` parted by blanks, or a `text` with `entities` in JSON."""
    return cells(cells(cells(lines, "tokens", words=True), "tags", words=True), "entities")


CARD = Card(
    name="ner",
    title="Named entities in a text",
    item=Text | NerItem,
    row=Row,
    output=NerOutput,
    state=State,
    tally=NerTally,
    config=NerConfig,
    table=table,
    examples=(
        "Emma works for Google in London.",
        {"text": "She met Ana in Lima 🇵🇪"},
        {"tokens": ["John", "lives", "in", "New", "York"]},
    ),
    metric="entity_f1",
    answers=("tags", "entities"),
)
