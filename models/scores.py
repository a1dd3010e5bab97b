"""Metrics as plain numbers. Knows labels and counts, no task."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np


def accuracy(predicted: Sequence[str], answers: Sequence[str]) -> float:
    """Share of predictions that are right."""
    return sum(p == a for p, a in zip(predicted, answers, strict=True)) / max(1, len(answers))


def macro_f1(predicted: Sequence[str], answers: Sequence[str]) -> float:
    """Mean over the labels in the answers of the harmonic mean of precision and recall."""
    expected, given = Counter(answers), Counter(predicted)
    hits = Counter(a for p, a in zip(predicted, answers, strict=True) if p == a)
    return sum(2 * hits[label] / (given[label] + n) for label, n in expected.items()) / max(1, len(expected))


def auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    """The chance that a true one scores above a false one, ties counting half; both must be there."""
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    true = int(labels.sum())
    above = float(ranks[labels].sum()) - true * (true + 1) / 2
    return above / (true * (len(labels) - true))


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """The area under precision by recall, as a sum of steps, none of them interpolated (scikit-learn's)."""
    precision, recall = _precision_recall(scores, labels)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def best_f1(scores: np.ndarray, labels: np.ndarray) -> float:
    """The highest F1 that any threshold reaches."""
    precision, recall = _precision_recall(scores, labels)
    return float(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12)))


def _precision_recall(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At each different score as a threshold, from the highest down; at least one label is true."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)
    hits = np.cumsum(labels[order])[last]
    return hits / (np.flatnonzero(last) + 1), hits / labels.sum()


def error_rate(predicted: Sequence[Sequence[str]], answers: Sequence[Sequence[str]]) -> float:
    """Insertions, deletions and substitutions that turn each prediction into its answer (Levenshtein 1966),
    for each element of the answers."""
    distance = importlib.import_module("rapidfuzz.distance.Levenshtein").distance
    edits: int = sum(distance(list(p), list(a)) for p, a in zip(predicted, answers, strict=True))
    return edits / max(1, sum(len(answer) for answer in answers))


def bleu(predicted: Sequence[str], answers: Sequence[str], *, tokenize: str | None = None) -> float:
    """Corpus BLEU from 0 to 100 by sacreBLEU (Post 2018), with its tokeniser of that name.

    By default `13a`, and `char` where the answers are written without spaces, as Chinese and Japanese are. Orders
    of n-grams that no answer is long enough for are left out.
    """
    found = _bleu(tokenize or tokeniser(answers)).corpus_score(list(predicted), [list(answers)])
    return float(found.score)


def bleu_signature(predicted: Sequence[str], answers: Sequence[str], *, tokenize: str | None = None) -> str:
    """How sacreBLEU names what `bleu` measured, so that others can measure the same."""
    scorer = _bleu(tokenize or tokeniser(answers))
    scorer.corpus_score(list(predicted), [list(answers)])
    return str(scorer.get_signature())


def chrf(predicted: Sequence[str], answers: Sequence[str]) -> float:
    """Corpus chrF2 from 0 to 100 (Popovic 2015) by sacreBLEU: F-score of character n-grams."""
    scorer = importlib.import_module("sacrebleu.metrics").CHRF()
    return float(scorer.corpus_score(list(predicted), [list(answers)]).score)


def tokeniser(answers: Sequence[str]) -> str:
    """`char` where fewer than one character in 25 is a space, else `13a`."""
    characters, spaces = sum(map(len, answers)), sum(answer.count(" ") for answer in answers)
    return "char" if 25 * spaces < characters else "13a"


def _bleu(tokenize: str) -> Any:
    return importlib.import_module("sacrebleu.metrics").BLEU(tokenize=tokenize, effective_order=True, force=True)
