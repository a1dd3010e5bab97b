"""Accuracy and macro F1 against scikit-learn's own figures, computed once and written down."""

from __future__ import annotations

import time

import pytest

from models.scores import accuracy, macro_f1

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
