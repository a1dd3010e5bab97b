"""The family that gives a whole row one label: honest scores, masks, counts. Knows no task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from models.batch import Batch, Example
from models.families.classify.codec import LabelCodec, hedged, labels_of, softmax
from models.families.classify.schema import MOST_LABELS, LabelState, LabelTally
from models.task import Config, Part, Schema


class Row(Schema):
    label: str
    split: Part | None = None


class Sized(LabelTally):
    unit = "steps"

    def length(self, row: Row) -> int:
        return 4


class Plain(LabelCodec[Row, Row, LabelState, Config]):
    def learn(self, rows: Sequence[Row], config: Config, vectors: Any = None) -> LabelState:
        return LabelState(**labels_of([row.label for row in rows]))

    def read(self, item: Any, state: LabelState, config: Config) -> Example:
        return Example(arrays={"values": np.zeros((3, 1), dtype=np.float32)}, length=3)


CODEC = Plain()
BATCH = Batch(arrays={})


class Fixed:
    """A network that always says the same."""

    def __init__(self, logits: np.ndarray) -> None:
        self.logits = logits

    def __call__(self, function: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"logits": self.logits}


def test_few_rows_make_nobody_sure_and_many_rows_change_nothing() -> None:
    sure = np.array([[1.0, 0.0], [0.4, 0.6]])
    assert hedged(sure, 4) == pytest.approx(np.array([[5 / 6, 1 / 6], [2.6 / 6, 3.4 / 6]]))
    assert hedged(sure, 1_000_000) == pytest.approx(sure, abs=1e-5)


@pytest.mark.parametrize("truth", [0.5, 1.0, 2.0, 4.0])
def test_the_temperature_finds_how_much_too_sure_the_network_is(truth: float) -> None:
    generator = np.random.default_rng(0)
    honest = generator.normal(size=(8000, 3)) * 2
    answers = ["abc"[generator.choice(3, p=p)] for p in softmax(honest)]
    state = LabelState(labels=["a", "b", "c"], counts=[1, 1, 1])
    found = CODEC.calibrate(Fixed((honest * truth).astype(np.float32)), [BATCH], state, [answers])
    assert found.temperature == pytest.approx(truth, rel=0.12)
    assert (state.temperature, found.labels) == (1.0, state.labels)


def test_too_few_answers_leave_the_temperature_alone() -> None:
    state = LabelState(labels=["a", "b"], counts=[1, 1])
    assert CODEC.calibrate(Fixed(np.ones((3, 2))), [BATCH], state, [["a", "b", "a"]]) is state


def tallied(*rows: tuple[str, Part | None]) -> LabelTally:
    tally = Sized()
    for line, (label, part) in enumerate(rows, start=1):
        tally.add(Row(label=label, split=part), line=line, part=part)
    return tally


def test_the_tally_counts_labels_and_lengths() -> None:
    tally = tallied(("a", None), ("a", None), ("b", None), ("b", None))
    assert tally.stats() == {"labels": {"a": 2, "b": 2}, "mean_steps": 4.0, "longest_steps": 4}
    assert tally.faults() == tally.warnings() == []


def test_the_tally_refuses_data_that_cannot_teach() -> None:
    assert "at least two labels" in tallied(("a", None), ("a", None)).faults()[0][1]
    assert "only the label 'a'" in tallied(("a", "train"), ("b", "test")).faults()[0][1]
    assert "no row" in tallied(("a", "test"), ("b", "test")).faults()[0][1]
    many = tallied(*((str(i), None) for i in range(MOST_LABELS + 50)))
    assert many.faults()[0][0] == MOST_LABELS + 1
    assert len(many.labels) == MOST_LABELS


def test_the_tally_warns_of_what_is_suspicious() -> None:
    told = tallied(("a", "train"), ("a", "train"), ("b", "train"), ("b", "train"), ("c", "test")).warnings()
    assert any("'c' has one row" in text for text in told)
    assert any("'c' stands in no training row" in text for text in told)


def test_labels_that_are_shown_once_or_never_are_told_with_what_to_do() -> None:
    train = [Row(label=label) for label in ["a", "a", "b", "c"]]
    rows: Mapping[Part, Sequence[Row]] = {"train": train, "validation": [Row(label="a")], "test": [Row(label="new")]}
    state = CODEC.learn(train, Config())
    told = CODEC.remarks(rows, state, Config())
    assert [text.partition(":")[0] for text in told] == [
        "the label 'b' stands in one training row",
        "the label 'c' stands in one training row",
        "the label 'new' stands in no training row",
    ]
    many = [Row(label=f"label {n}") for n in range(9)]
    assert CODEC.remarks({"train": many}, CODEC.learn(many, Config()), Config())[5:] == [
        "the same holds for 4 other labels"
    ]
