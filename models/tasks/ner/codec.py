"""Texts to arrays of word, character and shape numbers, and scores to entities. NumPy only.

T tokens, W characters of a token, N windows, C labels.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from models.batch import Batch, Example
from models.families.tag.chain import Chain
from models.families.tag.codec import Read, TagCodec, counted
from models.runtimes.run import Run
from models.scores import accuracy
from models.task import Params, Vectors
from models.tasks.ner.schema import CARD, NerConfig, NerEntity, NerItem, NerOutput, Row, State
from models.tasks.ner.tags import OUTSIDE, bio, spans
from models.tasks.ner.tokens import places
from models.vocab import SPECIAL, UNKNOWN, Vocabulary
from models.vocab import counted as ranked

WIDTH = 20
"""Characters of a token that are read: of a longer one the first and the last ten."""
MOST_CHARACTERS = 500
MOST_VECTOR_WORDS = 1_000_000
ENOUGH = 100
"""Entities that a threshold needs; fewer say more of themselves than of the network."""
THRESHOLDS = [step / 20 for step in range(12, 0, -1)]
"""Those that are tried; of equal ones the greatest is taken."""
SIGNS = "@#*-_.,:;!?()[]\"'|~/\\"
"""What may stand about a word that is known without: signs of a mention, of a hashtag, of emphasis."""
CASES = SPECIAL + 8
AT_ONCE = 64
"""Windows that the network reads in one call: the longest text costs no more memory."""

SHAPES = (
    r"[@]\w.*",  # a mention
    r"#\w.*",  # a hashtag
    r"(?i:https?:|www\.).*",  # an address
    r"[\d.,:/%-]*\d[\d.,:/%-]*",  # a number
    r"[^\W\d_a-z]",  # one letter that is no small one
    r"(?=.*[A-Z])[^a-z]+",  # capitals
    r"[^\W\d_a-z][^A-Z]+",  # one capital first
    r".*\d.*",  # a digit somewhere
    r".*[a-z].*[A-Z].*",  # a capital within
    r".*[^\W\d_].*",  # letters
)
SHAPE = re.compile("|".join(f"({shape})" for shape in SHAPES), re.DOTALL)
"""What a token looks like; what none of these fits is made of signs."""
KINDS = len(SHAPES) + 2

SENTENCE_END = frozenset(".!?…。！？") | {"..", "...", "!!", "??", "?!"}


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A text, or none, its tokens, and where these stand in it."""

    tokens: Sequence[str]
    text: str | None = None
    places: Sequence[tuple[int, int]] = ()


class NerCodec(TagCodec[Row, "str | NerItem", NerOutput, State, Params, NerConfig]):
    """Words, their characters and their shapes; the likeliest path, or the likely entities, and their probabilities."""

    card = CARD

    def learn(self, rows: Sequence[Row], config: NerConfig, vectors: Vectors | None = None) -> State:
        kinds = sorted({span.label for row in rows for span in row.spans})
        labels = [OUTSIDE, *(f"{letter}-{kind}" for kind in kinds for letter in "BI")]
        lower = [[word.lower() for word in row.words] for row in rows]
        table = rows_of(ranked(lower, least=1, most=MOST_VECTOR_WORDS), vectors, config.vector_rows) if vectors else {}
        return State(
            **counted((row.bio for row in rows), first=labels),
            words=ranked(lower, least=config.min_count, most=config.max_words),
            characters=ranked(("".join(row.words) for row in rows), least=2, most=MOST_CHARACTERS),
            readers=config.readers,
            given=list(table),
            given_rows=list(table.values()),
            given_cases=[cases_of(word, vectors) for word in table] if vectors else [],
            vector_width=vectors.width if vectors else None,
        )

    def read(self, item: Row | NerItem | str, state: State, config: NerConfig) -> Example:
        cut = cut_of(item)
        tokens = list(cut.tokens) or [""]  # a network cannot read nothing
        characters = np.zeros((len(tokens), WIDTH), dtype=np.int64)
        ends_of = [t if len(t) <= WIDTH else t[: WIDTH // 2] + t[-WIDTH // 2 :] for t in tokens]
        for row, spelt in zip(characters, ends_of, strict=True):
            row[: len(spelt)] = state.character_index.ids(spelt)
        arrays = {
            "words": np.array([learnt(token, state.word_index) for token in tokens], dtype=np.int64),
            "characters": characters,
            "shapes": np.array([shape_of(spelt) for spelt in ends_of], dtype=np.int64),
        }
        if state.vector_width is not None:
            found = [known(token, state.given_index) for token in tokens]
            arrays["given"], arrays["cases"] = np.array(found, dtype=np.int64).T
        ends = window_ends(tokens, config.max_tokens)
        return Example(arrays=arrays, length=len(tokens), context=Read(ends=ends, of=cut))

    def labels(self, row: Row, example: Example) -> list[str]:
        return row.bio or [OUTSIDE]

    def windowed(self, labels: Sequence[str], ends: Sequence[int]) -> list[str]:
        """An entity that a window cuts begins anew in the next one."""
        starts = set(ends[:-1])
        return [f"B{label[1:]}" if step in starts and label != OUTSIDE else label for step, label in enumerate(labels)]

    def predict(self, run: Run, batch: Batch, params: Params, state: State) -> list[NerOutput]:
        return self._outputs(self._chains(run, batch), batch.contexts, state, state.least)

    def calibrate(
        self, run: Run, batches: Sequence[Batch], state: State, answers: Sequence[Sequence[Sequence[str]]]
    ) -> State:
        """The threshold with the best entity F1. It lies near half of that F1 (Lipton et al. 2014), where the likeliest
        path tells what is likelier than all else, and is wary: nearly all tokens lie outside of entities."""
        truth = [answer for part in answers for answer in part]
        if sum(len(spans(answer)) for answer in truth) < ENOUGH:
            return state
        said = [(list(self._chains(run, batch)), batch.contexts) for batch in batches]
        found = {}
        for least in (None, *THRESHOLDS):
            outputs = [o for chains, contexts in said for o in self._outputs(chains, contexts, state, least)]
            found[least] = self.score(outputs, truth)["entity_f1"]
        return state.model_copy(update={"least": max(found, key=lambda least: found[least])})

    def _chains(self, run: Run, batch: Batch) -> Iterator[Chain]:
        """What the network says of the windows of a batch, some at a time."""
        for first in range(0, len(batch.arrays["lengths"]), AT_ONCE):
            read = {name: array[first : first + AT_ONCE] for name, array in batch.arrays.items()}
            said = run("forward", read)
            yield Chain(said["scores"], said["transitions"][0], read["lengths"])

    def _outputs(
        self, chains: Iterable[Chain], contexts: Sequence[Read[Cut]], state: State, least: float | None
    ) -> list[NerOutput]:
        """What the windows of a batch come to."""
        windows = (found for labelled in chains for found in tagged(labelled, state.labels, least))
        return [output(context.of, list(islice(windows, len(context.ends)))) for context in contexts]

    def guess(self, answers: Sequence[Sequence[str]], state: State) -> float | None:
        return 0.0  # no entity anywhere

    def score(self, outputs: Sequence[NerOutput], answers: Sequence[Sequence[str]]) -> dict[str, float]:
        """seqeval's strict scores of entities: right is one of the same label that begins and ends at the same
        tokens. And the share of tokens with the right tag."""
        strict = importlib.import_module("seqeval.metrics.v1")  # it brings scikit-learn
        scheme = importlib.import_module("seqeval.scheme").IOB2
        given = [[*output.tags, OUTSIDE][: len(answer)] for output, answer in zip(outputs, answers, strict=True)]
        precision, recall, f1, _ = strict.precision_recall_fscore_support(
            [list(answer) for answer in answers], given, average="micro", scheme=scheme, zero_division=0
        )
        return {
            "entity_f1": float(f1),
            "precision": float(precision),
            "recall": float(recall),
            "token_accuracy": accuracy([*chain.from_iterable(given)], [*chain.from_iterable(answers)]),
        }


def tagged(labelled: Chain, labels: Sequence[str], least: float | None) -> Iterator[tuple[list[str], list[float]]]:
    """Of each window its tags and the probability of each entity: those of the likeliest path, or where `least` is
    given all that are so probable; of two that overlap the more probable one."""
    if least is not None:
        yield from likely(labelled, labels, least)
        return
    ended_by = {label: np.array([other != "I" + label[1:] for other in labels]) for label in labels}
    for index, path in enumerate(labelled.best()):
        tags = [labels[number] for number in path]
        scores = [
            labelled.probability(index, s.start, path[s.start : s.end].tolist(), then=ended_by[tags[s.start]])
            for s in spans(tags)
        ]
        yield tags, scores


def likely(labelled: Chain, labels: Sequence[str], least: float) -> Iterator[tuple[list[str], list[float]]]:
    """`tagged`, of all entities that are so probable."""
    kinds = [label[2:] for label in labels if label.startswith("B-")]
    first, on = ([labels.index(f"{letter}-{kind}") for kind in kinds] for letter in "BI")
    found: list[list[tuple[float, int, int, str]]] = [[] for _ in labelled.lengths]
    for index, start, end, kind, score in labelled.stretches(first, on, least):
        found[index].append((score, start, end, kinds[kind]))
    for length, entities in zip(labelled.lengths.tolist(), found, strict=True):
        chosen: dict[int, tuple[float, int, int, str]] = {}
        free = np.ones(length, dtype=bool)
        for entity in sorted(entities, key=lambda entity: (-entity[0], entity[1:])):
            stretch = slice(entity[1], entity[2])
            if free[stretch].all():
                free[stretch] = False
                chosen[entity[1]] = entity
        told = [chosen[start] for start in sorted(chosen)]
        yield bio([entity[1:] for entity in told], length), [entity[0] for entity in told]


def cut_of(item: Row | NerItem | str) -> Cut:
    """The tokens of a row or an item."""
    if isinstance(item, NerItem) and item.tokens is not None:
        return Cut(tokens=item.tokens)
    text = item if isinstance(item, str) else item.text or ""
    found = item.places if isinstance(item, Row) else places(text)
    return Cut(tokens=[text[start:end] for start, end in found], text=text, places=found)


def output(cut: Cut, windows: Sequence[tuple[list[str], list[float]]]) -> NerOutput:
    """What a caller is told of a text, window after window."""
    entities, tags = [], list[str]()
    if not cut.tokens:
        return NerOutput(entities=[], tokens=[], tags=[])
    for found, scores in windows:
        for span, score in zip(spans(found), scores, strict=True):
            start, end = len(tags) + span.start, len(tags) + span.end
            text = " ".join(cut.tokens[start:end])
            if cut.text is not None:
                start, end = cut.places[start][0], cut.places[end - 1][1]
                text = cut.text[start:end]
            entities.append(NerEntity(label=span.label, start=start, end=end, text=text, score=score))
        tags += found
    return NerOutput(entities=entities, tokens=list(cut.tokens), tags=tags)


def rows_of(words: Sequence[str], vectors: Vectors, most: int) -> dict[str, int]:
    """Rows of a table for those of the words that have given vectors, and for the words of given vectors that share
    their rows or need at most `most` more. A word is left out that has its lower-cased form's row."""
    taken: dict[int, int] = {}
    """Row of the vectors -> row of the table."""
    table = {word: taken.setdefault(vectors.rows[word], len(taken)) for word in words if word in vectors.rows}
    limit = len(taken) + most
    for word, given in islice(vectors.rows.items(), MOST_VECTOR_WORDS):
        lower = word.lower()
        if word in table or (lower != word and vectors.rows.get(lower) == given):
            continue
        if given in taken or len(taken) < limit:
            table[word] = taken.setdefault(given, len(taken))
    return table


def cases_of(word: str, vectors: Vectors) -> int:
    """The cases in which given vectors know a word: it tells a name from what only stands first in a sentence."""
    lower = word.lower()
    forms = (lower, lower.capitalize(), lower.upper())
    return sum((form in vectors.rows) << bit for bit, form in enumerate(forms))


def learnt(token: str, words: Vocabulary) -> int:
    """The number of a word of the training part, in lower case and, if need be, without the signs about it."""
    lower = token.lower()
    whole, bare = words.ids([lower, lower.strip(SIGNS)])
    return bare if whole == UNKNOWN else whole


def known(token: str, given: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """The numbers of a word of given vectors and of its cases: as it is written, without the signs about it, or in
    another case."""
    bare = token.strip(SIGNS)
    lower = bare.lower()
    for form in (token, token.lower(), bare, lower, lower.capitalize(), lower.upper()):
        if form in given:
            row, cases = given[form]
            return SPECIAL + row, SPECIAL + cases
    return UNKNOWN, UNKNOWN


def shape_of(token: str) -> int:
    """The number of what a token looks like, from 1; 0 is padding."""
    match = SHAPE.fullmatch(token)
    return KINDS - 1 if match is None else match.lastindex or 0


def window_ends(tokens: Sequence[str], most: int) -> list[int]:
    """Where windows of at most `most` tokens end: after the last sentence that ends within each, or in its midst."""
    ends, start = [], 0
    while len(tokens) - start > most:
        half, end = start + most // 2, start + most
        ends.append(next((i + 1 for i in range(end - 1, half - 1, -1) if tokens[i] in SENTENCE_END), end))
        start = ends[-1]
    return [*ends, len(tokens)]


CODEC = NerCodec()
