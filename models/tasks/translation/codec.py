"""Sentences to subword ids, and a beam search back. NumPy only.

B sentences, K beams, T pieces of a source (padded), V pieces of the target.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from models.batch import Batch, Example, pad
from models.beam import Hypothesis, Search
from models.beam import State as Beams
from models.runtimes.run import Run
from models.schemas import TextItem
from models.scores import bleu, chrf, tokeniser
from models.subwords import END, PADDING, SPACE, UNKNOWN, Pieces, learn
from models.task import Codec, Fault, Part, Vectors
from models.tasks.translation.schema import (
    CARD,
    Alternative,
    Row,
    State,
    TranslationConfig,
    TranslationOutput,
    TranslationParams,
)

SPARE = 10
"""Pieces that a translation may have beyond what its source's length gives it."""
STRANGE = "\ue000"
"""A character that no language has and no piece holds: the unknown word of training."""
SIGN = re.compile(r"(?<=\w)(\s?)([^\w\s])(?![^\W_])|(?<=[^\W\d])(\s?)(['’])(?=\w)")
"""A sign after a word, and whether a space comes between; within numbers and words only an apostrophe is one."""


@dataclass(frozen=True, slots=True)
class Source:
    """What gives ids their meaning back."""

    unknown: tuple[str, ...]
    """What each piece of the source was read from, if it is unknown, else nothing."""
    limit: int
    """Pieces of the translation at most."""


class TranslationCodec(
    Codec[Row, "str | TextItem", TranslationOutput, State, TranslationParams, TranslationConfig],
):
    """Subwords of both sides; a translation is searched for, step by step."""

    card = CARD

    def learn(self, rows: Sequence[Row], config: TranslationConfig, vectors: Vectors | None = None) -> State:
        apart = _apart(row.source for row in rows)
        sources, targets = [_spaced(row.source, apart) for row in rows], [row.target for row in rows]
        if config.joint:
            source, target = learn([*sources, *targets], most=config.subwords), None
        else:
            source, target = learn(sources, most=config.subwords), learn(targets, most=config.subwords)
        written = target or source
        ratios = [len(written.split(t)) / max(1, len(source.split(s))) for s, t in zip(sources, targets, strict=True)]
        stretch = float(np.clip(np.quantile(ratios, 0.99), 1.0, 20.0))
        spaced = tokeniser(targets) != "char"
        return State(source=source, target=target, stretch=round(stretch, 2), spaced=spaced, apart=apart)

    def remarks(self, rows: Mapping[Part, Sequence[Row]], state: State, config: TranslationConfig) -> list[str]:
        """How many training pairs are too long to teach."""
        pairs = rows.get("train", ())
        most, source, written = config.max_pieces, state.source, state.written
        wide = [row for row in pairs if max(len(row.source), len(row.target) + 1) > most]  # a piece has a character
        long = sum(max(len(source.split(row.source)), len(written.split(row.target)) + 1) > most for row in wide)
        if not long:
            return []
        told = f"{long} of {len(pairs)} training pairs are longer than `max_pieces` = {most} subwords"
        return [f"{told} and teach nothing: cut them, or raise it"]

    def examples(self, row: Row, state: State, config: TranslationConfig, part: Part) -> Iterator[Example]:
        source, target = _spaced(row.source, state.apart), row.target
        versions = [(source, target)]
        if part == "train" and _chance(row, config.seed) < config.copies:
            versions.append(_with_unknown(source, target))
        for source, target in versions:
            read = state.source.split(source)
            ids = [*(identity for identity, _ in state.written.split(target)), END]
            if part == "train" and max(len(read), len(ids)) > config.max_pieces:
                continue
            arrays = _arrays(read[: config.max_pieces])
            arrays["target"] = np.array(ids[: config.max_pieces], dtype=np.int64)
            length = max(len(arrays["source"]), len(arrays["target"]))
            yield Example(arrays=arrays, length=length, answer=row.target, context=_context(read, None, state))

    def example(
        self, item: str | TextItem, params: TranslationParams, state: State, config: TranslationConfig
    ) -> Example:
        text, at = (item, ()) if isinstance(item, str) else (item.text, ("text",))
        read = state.source.split(_spaced(text, state.apart))
        if not read:
            raise Fault("the text holds no visible character", at=at)
        if len(read) > config.max_pieces:
            raise Fault(
                f"the text has {len(read)} subwords, and this model reads {config.max_pieces} at most; "
                "send its sentences one by one",
                at=at,
            )
        return Example(arrays=_arrays(read), length=len(read), context=_context(read, params.max_length, state))

    def collate(self, examples: Sequence[Example]) -> Batch:
        arrays = {name: pad([example.arrays[name] for example in examples]) for name in examples[0].arrays}
        arrays["lengths"] = np.array([len(example.arrays["source"]) for example in examples], dtype=np.int64)
        return Batch(arrays=arrays, contexts=[example.context for example in examples])

    def predict(self, run: Run, batch: Batch, params: TranslationParams, state: State) -> list[TranslationOutput]:
        def step(
            ids: np.ndarray, beams: Beams, items: Mapping[str, np.ndarray]
        ) -> tuple[np.ndarray, Beams, np.ndarray]:
            found = run("step", {"tokens": ids, **beams, **items})
            return found["log_probabilities"], {"state": found["next_state"]}, found["attention"]

        encoded = run("encode", batch.arrays)
        items = {"memory": encoded["memory"], "keys": encoded["keys"], "lengths": batch.arrays["lengths"]}
        search = Search(beam=max(params.beam, params.alternatives + 1), padding=PADDING, unknown=UNKNOWN, end=END)
        copyable = batch.arrays["source"] == UNKNOWN
        limits = [context.limit for context in batch.contexts]
        found = search(step, {"state": encoded["state"]}, items, copyable, limits)
        return [
            _output(hypotheses, context, params.alternatives, state)
            for hypotheses, context in zip(found, batch.contexts, strict=True)
        ]

    def score(self, outputs: Sequence[TranslationOutput], answers: Sequence[str]) -> dict[str, float]:
        translations = [output.translation for output in outputs]
        return {"bleu": bleu(translations, answers), "chrf": chrf(translations, answers)}


def _output(hypotheses: list[Hypothesis], source: Source, alternatives: int, state: State) -> TranslationOutput:
    """The best, and the next best that read otherwise."""
    found: dict[str, float] = {}
    for hypothesis in hypotheses:
        text = state.written.join(hypothesis.ids, [source.unknown[place] for place in hypothesis.copied])
        found.setdefault(text, min(0.0, hypothesis.score))
    best, *others = [Alternative(translation=text, score=score) for text, score in found.items()]
    return TranslationOutput(translation=best.translation, score=best.score, alternatives=others[:alternatives])


def _arrays(read: Pieces) -> dict[str, np.ndarray]:
    return {"source": np.array([identity for identity, _ in read], dtype=np.int64)}


def _context(read: Pieces, limit: int | None, state: State) -> Source:
    copies = (surface if state.spaced else surface.lstrip(SPACE) for _, surface in read)
    unknown = tuple(copy if identity == UNKNOWN else "" for copy, (identity, _) in zip(copies, read, strict=True))
    return Source(unknown=unknown, limit=limit or ceil(state.stretch * len(read)) + SPARE)


def _chance(row: Row, seed: int) -> float:
    """A number from 0 to 1 that belongs to the row."""
    return zlib.crc32(f"{seed}\n{row.source}\n{row.target}".encode(errors="replace")) / 2**32


def _with_unknown(source: str, target: str) -> tuple[str, str]:
    """The pair with an unknown word on both sides: in place of the longest that both share, else at the end."""
    shared = sorted({word for word in source.split() if len(word) > 1} & set(target.split()), key=lambda w: (len(w), w))
    if shared:
        word = re.compile(rf"(?<!\S){re.escape(shared[-1])}(?!\S)")
        return word.sub(STRANGE, source, count=1), word.sub(STRANGE, target, count=1)
    return _ended(source), _ended(target)


def _ended(text: str) -> str:
    return f"{text} {STRANGE}" if " " in text.strip() else f"{text}{STRANGE}"


def _apart(sources: Iterable[str]) -> str:
    """The signs that follow a word only after a space, nearly always: the sources are tokenised."""
    apart, close = Counter[str](), Counter[str]()
    for source in sources:
        for space, sign, within, apostrophe in SIGN.findall(source):
            (apart if space or within else close)[sign or apostrophe] += 1
    return "".join(sorted(sign for sign, n in apart.items() if n >= 5 and n >= 50 * close[sign]))


def _spaced(text: str, apart: str) -> str:
    """The text with a space before each sign that stands apart in the training sources."""

    def spaced(found: re.Match[str]) -> str:
        sign = found[2] or found[4]
        return f" {sign}" if sign in apart else found[0]

    return SIGN.sub(spaced, text) if apart else text


CODEC = TranslationCodec()
