"""Sequences: values of any width or tokens, short or long, give one label; what does not fit is refused in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from models.predictor import Predictor
from models.runtimes.export import export
from models.runtimes.onnx_run import OnnxRun
from models.runtimes.run import Run
from models.runtimes.torch_run import TorchRun
from models.schemas import LabelOutput, LabelParams
from models.task import Fault
from models.tasks.sequences.codec import CODEC
from models.tasks.sequences.network import NETWORK
from models.tasks.sequences.schema import CARD, Row, SequenceConfig, SequenceItem, SequenceTally
from models.tasks.sequences.stream import STREAM
from models.trainer import Trained, train

ALL = LabelParams()
SMALL: dict[str, Any] = {"hidden": 8, "channels": 8, "embedding": 8, "epochs": 12, "patience": 12, "lr": 0.01}


def rising(n: int, *, width: int = 3, seed: int = 0) -> list[Row]:
    """Sequences of 1 to 12 steps whose first feature rises or falls."""
    generator = np.random.default_rng(seed)
    made = []
    for index in range(n):
        values = generator.normal(scale=0.3, size=(generator.integers(3, 13), width))
        values[:, 0] += np.arange(len(values)) * (0.4 if index % 2 else -0.4)
        made.append(Row(values=values, label="up" if index % 2 else "down"))
    return made


def spoken(n: int, *, seed: int = 0) -> list[Row]:
    """Sequences of tokens; "stop" at the end, or not."""
    generator = np.random.default_rng(seed)
    tokens = [["go", "wait", 7][i] for i in generator.integers(0, 3, size=6 * n)]
    rows = []
    for index in range(n):
        chosen: list[Any] = tokens[6 * index : 6 * index + 2 + index % 5]
        rows.append(Row(tokens=[*chosen, "stop"] if index % 2 else chosen, label="stops" if index % 2 else "goes"))
    return rows


def learnt(rows: list[Row], **config: Any) -> tuple[Trained, Predictor]:
    chosen = SequenceConfig(**{**SMALL, **config})
    parts = {"train": rows[: len(rows) * 3 // 4], "validation": rows[len(rows) * 3 // 4 :]}
    trained = train(CODEC, NETWORK, parts, chosen)
    return trained, Predictor(CODEC, trained.state, chosen, TorchRun(trained.net, NETWORK))


def ask(predictor: Predictor, items: list[Mapping[str, Any]], params: LabelParams = ALL) -> list[LabelOutput]:
    parsed = [CARD.parse_item(item) for item in items]
    return predictor.answer([predictor.prepare(item, params) for item in parsed], params)


@pytest.fixture(scope="module")
def values() -> tuple[Trained, Predictor]:
    return learnt(rising(80))


@pytest.fixture(scope="module")
def tokens() -> tuple[Trained, Predictor]:
    return learnt(spoken(80))


def test_a_direction_is_learnt_from_values(values: tuple[Trained, Predictor]) -> None:
    trained, predictor = values
    assert trained.metrics["validation_accuracy"] >= 0.9
    up, down = ask(predictor, [{"values": [[way * t, 0, 0] for t in range(6)]} for way in (0.4, -0.4)])
    assert (up.label, down.label) == ("up", "down")
    assert sum(up.scores.values()) == pytest.approx(1)


def test_a_word_is_learnt_from_tokens_of_text_and_numbers(tokens: tuple[Trained, Predictor]) -> None:
    trained, predictor = tokens
    assert trained.metrics["validation_accuracy"] >= 0.9
    first, second, third = ask(
        predictor, [{"tokens": ["go", "7", "stop"]}, {"tokens": ["go", 7, "stop"]}, {"tokens": ["go", 7]}]
    )
    assert first == second
    assert (first.label, third.label) == ("stops", "goes")
    assert len(ask(predictor, [{"tokens": ["never seen", "😀"]}])) == 1


def test_single_numbers_are_sequences_of_one_feature() -> None:
    rows = [Row(values=row.steps[:, 0], label=row.label) for row in rising(40)]
    _, predictor = learnt(rows, epochs=2)
    flat, nested = ask(predictor, [{"values": [1, 2, 3]}, {"values": [[1], [2], [3]]}])
    assert flat == nested


def test_items_of_another_shape_are_refused_with_the_place(
    values: tuple[Trained, Predictor], tokens: tuple[Trained, Predictor]
) -> None:
    with pytest.raises(Fault, match="2 numbers a step where this model was taught 3") as fault:
        ask(values[1], [{"values": [[1, 2]]}])
    assert fault.value.at == ("values",)
    with pytest.raises(Fault, match="taught with `values` and cannot read `tokens`"):
        ask(values[1], [{"tokens": ["go"]}])
    with pytest.raises(Fault, match="taught with `tokens` and cannot read `values`"):
        ask(tokens[1], [{"values": [1, 2]}])


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"values": []},
        {"values": [[]]},
        {"values": [[1, 2], [3]]},
        {"values": [[1, float("nan")]]},
        {"values": [[[1]]]},
        {"values": ["a"]},
        {"values": [1, None]},
        {"tokens": []},
        {"tokens": [""]},
        {"tokens": [True]},
        {"tokens": [1.5]},
        {"tokens": ["a"], "values": [1]},
        {"tokens": "a b"},
        {"values": [1], "more": 1},
    ],
)
def test_what_is_no_sequence_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CARD.parse_item(wrong)


def test_every_version_is_asked_what_it_can_answer(
    values: tuple[Trained, Predictor], tokens: tuple[Trained, Predictor]
) -> None:
    for _, predictor in (values, tokens):
        predictor.probe()


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "peephole", "coupled", "slstm"])
def test_every_cell_learns_and_is_exported(cell: str, tmp_path: Path) -> None:
    trained, predictor = learnt(rising(40), cell=cell, epochs=2, bidirectional=cell != "slstm", layers=[8, 4])
    examples = [
        CODEC.example(SequenceItem(values=row.steps), ALL, trained.state, predictor.config) for row in rising(9)
    ]

    def asked(run: Run) -> None:
        CODEC.predict(run, CODEC.collate(examples), ALL, trained.state)
        if not predictor.config.bidirectional:
            STREAM.rehearse(run, examples, trained.state, predictor.config)

    assert export(NETWORK, trained.net, asked, tmp_path) is None
    run = OnnxRun(tmp_path)
    expected = predictor.answer(examples, ALL)
    for one, example in zip(expected, examples, strict=True):
        alone = CODEC.predict(run, CODEC.collate([example]), ALL, trained.state)[0]
        assert alone.scores == pytest.approx(one.scores, abs=1e-5)


def test_tokens_are_counted_as_asked() -> None:
    rows = [Row(tokens=["a", "a", "b"], label="x"), Row(tokens=["a", "b", "c"], label="y")]
    assert CODEC.learn(rows, SequenceConfig()).vocabulary == ["a", "b", "c"]
    assert CODEC.learn(rows, SequenceConfig(min_count=2)).vocabulary == ["a", "b"]
    assert CODEC.learn(rows, SequenceConfig(max_tokens=1)).vocabulary == ["a"]
    assert CODEC.learn(rows, SequenceConfig(max_steps=2)).vocabulary == ["a", "b"]


def test_a_long_sequence_is_cut_and_changes_are_read_beside() -> None:
    rows = rising(4)
    config = SequenceConfig(max_steps=5, motion="none")
    state = CODEC.learn(rows, config)
    item = SequenceItem(values=np.ones((9, 3)))
    assert CODEC.example(item, ALL, state, config).arrays["values"].shape == (5, 3)
    both = SequenceConfig(max_steps=5)
    assert CODEC.example(item, ALL, CODEC.learn(rows, both), both).arrays["values"].shape == (5, 6)


@pytest.mark.parametrize("config", [{"embedding": 5}, {"token_dropout": 0.9}])
def test_options_of_tokens_change_the_network_or_its_learning(config: dict[str, Any]) -> None:
    found = [learnt(spoken(12), **{**SMALL, "epochs": 1, **changed})[0].net.state_dict() for changed in ({}, config)]
    one, other = (torch.cat([tensor.flatten() for tensor in weights.values()]) for weights in found)
    assert not one.equal(other)


def test_hostile_rows_among_good_ones_do_not_stop_a_training() -> None:
    odd = [
        Row(values=[[1e15, -1e15, 0]], label="up"),
        Row(values=np.zeros((1, 3)), label="down"),
        Row(values=np.ones((3000, 3)), label="down"),
    ]
    trained, predictor = learnt([*odd, *rising(20)], epochs=2)
    assert np.isfinite(trained.metrics["validation_loss"])
    (output,) = ask(predictor, [{"values": [[-1e15, 1e15, 1e-300]]}])
    assert sum(output.scores.values()) == pytest.approx(1)


def test_a_label_that_no_training_row_has_counts_as_a_mistake() -> None:
    rows = [*rising(12), Row(values=np.ones((3, 3)), label="sideways")]
    trained = train(
        CODEC, NETWORK, {"train": rows[:12], "validation": rows[8:]}, SequenceConfig(**{**SMALL, "epochs": 1})
    )
    assert trained.state.labels == ["down", "up"]
    assert trained.metrics["validation_accuracy"] <= 0.8


def tallied(*rows: dict[str, Any]) -> SequenceTally:
    tally = SequenceTally()
    for line, row in enumerate(rows, start=1):
        tally.add(Row.model_validate({"label": "ab"[line % 2], **row}), line=line, part=None)
    return tally


def test_the_tally_says_which_row_does_not_fit_the_first() -> None:
    tally = tallied({"values": [[1, 2]]}, {"values": [[1, 2], [3, 4]]}, {"values": [1]}, {"tokens": ["x"]})
    assert tally.faults()[:2] == [
        (3, "1 number a step where line 1 has 2 numbers a step"),
        (4, "tokens where line 1 has 2 numbers a step"),
    ]
    stats = tallied({"tokens": ["x", 1]}, {"tokens": ["x"]}).stats()
    assert stats == {
        "labels": {"a": 1, "b": 1},
        "mean_steps": 1.5,
        "longest_steps": 2,
    }
