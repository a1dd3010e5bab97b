"""Texts to arrays of word and subword ids, and logits to labels. NumPy only.

B texts, T tokens (padded), K subwords of a token, C labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from models.batch import Batch, Example, pad
from models.runtimes.run import Run
from models.schemas import LabelOutput, LabelParams, TextItem
from models.scores import accuracy, macro_f1
from models.task import Codec, Part, Vectors
from models.tasks.sentiment.schema import CARD, Row, SentimentConfig, State
from models.vocab import counted, subwords, words

BUCKETS = 8_000
SUBWORDS = 12
FEW = 64
"""Training examples at least: fewer rows are read several times an epoch, each time with other words dropped."""
ENOUGH = 100
"""Answers that a temperature needs; fewer say more of themselves than of the network."""


class SentimentCodec(Codec[Row, "str | TextItem", LabelOutput, State, LabelParams, SentimentConfig]):
    """Words, hashed subwords and their lengths; calibrated probabilities back."""

    card = CARD

    def learn(self, rows: Sequence[Row], config: SentimentConfig, vectors: Vectors | None = None) -> State:
        labels = Counter(row.label for row in rows)
        tokens = (words(row.text) for row in rows)
        # A pretrained vector makes even a word seen once worth an id of its own.
        known = counted(tokens, least=1 if vectors else config.min_count, most=config.max_words)
        return State(
            labels=sorted(labels),
            counts=[labels[label] for label in sorted(labels)],
            vocabulary=known,
            vector_width=vectors.width if vectors else None,
        )

    def examples(self, row: Row, state: State, config: SentimentConfig, part: Part) -> Iterator[Example]:
        arrays = _arrays(row.text, state, config)
        known = {label: index for index, label in enumerate(state.labels)}
        if part == "train" and row.label not in known:
            return
        arrays["label"] = np.array(known.get(row.label, -1), dtype=np.int64)
        times = -(-FEW // max(1, sum(state.counts))) if part == "train" else 1
        yield from [Example(arrays=arrays, length=len(arrays["words"]), answer=row.label)] * times

    def example(self, item: str | TextItem, params: LabelParams, state: State, config: SentimentConfig) -> Example:
        arrays = _arrays(item if isinstance(item, str) else item.text, state, config)
        return Example(arrays=arrays, length=len(arrays["words"]))

    def collate(self, examples: Sequence[Example]) -> Batch:
        arrays = {name: pad([example.arrays[name] for example in examples]) for name in examples[0].arrays}
        arrays["lengths"] = np.array([example.length for example in examples], dtype=np.int64)
        return Batch(arrays=arrays)

    def predict(self, run: Run, batch: Batch, params: LabelParams, state: State) -> list[LabelOutput]:
        logits = run("forward", batch.arrays)["logits"].astype(np.float64) / state.temperature
        return [_output(row, state.labels, params.top_k) for row in softmax(logits)]

    def score(self, outputs: Sequence[LabelOutput], answers: Sequence[str]) -> dict[str, float]:
        predicted = [output.label for output in outputs]
        return {"accuracy": accuracy(predicted, answers), "macro_f1": macro_f1(predicted, answers)}

    def calibrate(self, run: Run, batches: Sequence[Batch], state: State, answers: Sequence[Sequence[str]]) -> State:
        """The temperature with the least negative log-likelihood, among 61 from 0.25 to 8."""
        logits = np.concatenate([run("forward", batch.arrays)["logits"] for batch in batches]).astype(np.float64)
        truth = [state.labels.index(a) if a in state.labels else -1 for part in answers for a in part]
        keep = np.flatnonzero(np.array(truth) >= 0)
        if len(keep) < ENOUGH:
            return state
        chosen = np.array(truth)[keep]
        grid = np.geomspace(0.25, 8, 61)
        likelihoods = [np.log(softmax(logits[keep] / t)[np.arange(len(keep)), chosen] + 1e-12).sum() for t in grid]
        return state.model_copy(update={"temperature": float(grid[int(np.argmax(likelihoods))])})


def softmax(logits: np.ndarray) -> np.ndarray:
    """(B, C) -> (B, C), rows that sum to 1."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    total: np.ndarray = shifted / shifted.sum(axis=1, keepdims=True)
    return total


def _output(probabilities: np.ndarray, labels: list[str], top_k: int | None) -> LabelOutput:
    order = np.argsort(-probabilities, kind="stable")
    scores = {labels[i]: float(probabilities[i]) for i in order[:top_k]}
    return LabelOutput(label=labels[order[0]], score=float(probabilities[order[0]]), scores=scores)


def _arrays(text: str, state: State, config: SentimentConfig) -> dict[str, np.ndarray]:
    tokens = words(text)[: config.max_tokens] or [""]
    pieces = np.zeros((len(tokens), SUBWORDS), dtype=np.int64)
    for row, token in zip(pieces, tokens, strict=True):
        found = subwords(token, BUCKETS, SUBWORDS)
        row[: len(found)] = found
    ids = np.array(state.index.ids(tokens), dtype=np.int64)
    return {"words": ids, "subwords": pieces}


CODEC = SentimentCodec()
