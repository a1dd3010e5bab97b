"""Metrics against scikit-learn's own figures, computed once and written down, or against their definitions."""

from __future__ import annotations

import time

import numpy as np
import pytest
import sacrebleu

from models.scores import (
    accuracy,
    auroc,
    average_precision,
    best_f1,
    bleu,
    bleu_signature,
    chrf,
    error_rate,
    macro_f1,
    tokeniser,
)

ANSWERS = ["a", "a", "a", "b", "b", "c"]
PREDICTED = ["a", "b", "a", "b", "b", "a"]


def test_accuracy_is_the_share_that_is_right() -> None:
    assert accuracy(PREDICTED, ANSWERS) == pytest.approx(4 / 6)


def test_macro_f1_weighs_every_label_alike() -> None:
    # a: precision 2/3, recall 2/3; b: 2/3 and 1; c: never predicted.
    assert macro_f1(PREDICTED, ANSWERS) == pytest.approx((2 / 3 + 0.8 + 0) / 3)


def test_a_label_that_stands_in_no_answer_has_no_mean_of_its_own() -> None:
    assert macro_f1(["a", "z"], ["a", "a"]) == pytest.approx(2 / 3)


def test_nothing_scores_nothing() -> None:
    assert accuracy([], []) == macro_f1([], []) == 0


def test_unequal_counts_are_refused() -> None:
    for score in (accuracy, macro_f1):
        with pytest.raises(ValueError, match="argument 2 is longer"):
            score(["a"], ["a", "b"])


def test_a_thousand_labels_are_scored_in_one_pass() -> None:
    labels = [str(i % 1000) for i in range(100_000)]
    began = time.perf_counter()
    assert macro_f1(labels, labels) == 1
    assert time.perf_counter() - began < 2


def test_the_area_under_the_curve_is_the_chance_of_being_above() -> None:
    random = np.random.default_rng(0)
    scores, labels = np.round(random.normal(size=60), 1), random.random(60) < 0.3
    pairs = [(a > b) + (a == b) / 2 for a in scores[labels] for b in scores[~labels]]
    assert auroc(scores, labels) == pytest.approx(np.mean(pairs))
    assert auroc(labels.astype(float), labels) == 1


def test_precision_is_averaged_over_recall() -> None:
    labels = np.array([True, False, True, False])
    assert average_precision(np.array([4.0, 3.0, 2.0, 1.0]), labels) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert average_precision(np.array([1.0, 1.0, 1.0, 1.0]), labels) == pytest.approx(0.5)


def test_the_best_f1_is_that_of_the_best_threshold() -> None:
    random = np.random.default_rng(1)
    scores, labels = np.round(random.normal(size=50), 1), random.random(50) < 0.4
    tried = []
    for least in scores:
        flags = scores >= least
        tried.append(2 * (flags & labels).sum() / (flags.sum() + labels.sum()))
    assert best_f1(scores, labels) == pytest.approx(max(tried))


def test_the_error_rate_counts_edits_for_each_true_element() -> None:
    assert error_rate([["a", "b"], ["c"]], [["a", "x"], ["c", "d"]]) == pytest.approx(2 / 4)
    assert error_rate([["a"] * 3], [["b"]]) == pytest.approx(3)
    assert error_rate([["ab", "c"]], [["a", "bc"]]) == pytest.approx(1)
    assert error_rate([], []) == 0


def test_bleu_and_chrf_are_sacrebleus() -> None:
    answers = ["the cat sat on the mat .", "a dog ran home quickly today"]
    assert bleu(answers, answers) == pytest.approx(100)
    assert chrf(answers, answers) == pytest.approx(100)
    worse = ["the cat sat on a mat .", "a dog ran home"]
    expected = sacrebleu.corpus_bleu(worse, [answers])
    assert bleu(worse, answers) == pytest.approx(expected.score)
    assert 0 < bleu(worse, answers) < 100
    assert chrf(worse, answers) == pytest.approx(sacrebleu.corpus_chrf(worse, [answers]).score)


def test_bleu_reads_texts_without_spaces_by_character() -> None:
    answers, near = ["私は東京に住んでいます。"], ["私は京都に住んでいます。"]
    assert tokeniser(answers) == "char"
    assert bleu(near, answers) == pytest.approx(sacrebleu.corpus_bleu(near, [answers], tokenize="char").score)
    assert tokeniser(["hola mundo"]) == "13a"
    assert "tok:char" in bleu_signature(near, answers)
    assert "tok:none" in bleu_signature(near, answers, tokenize="none")


def test_bleu_of_short_answers_counts_the_orders_they_have() -> None:
    assert bleu(["hola mundo"], ["hola mundo"]) == pytest.approx(100)
    assert bleu(["adios"], ["hola mundo"]) == 0
