"""Rows of series: cut into parts along time, labels that judge without being learnt, tables, statistics."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from models.readers import Bad
from models.task import Fault, Part
from models.tasks.anomaly.codec import CODEC, SEGMENT
from models.tasks.anomaly.network import NETWORK
from models.tasks.anomaly.schema import AnomalyConfig, Row
from models.tasks.anomaly.tables import SeriesTally, table
from models.trainer import train
from tests.models.tasks.waves import sine


def test_labels_are_zeros_and_ones_a_step() -> None:
    with pytest.raises(ValidationError, match="2 values but 1 labels"):
        Row.model_validate({"values": [1.0, 2.0], "labels": [1]})
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        Row.model_validate({"values": [1.0], "labels": [2]})


def spans(row: Row, part: Part) -> list[Any]:
    config = AnomalyConfig()
    return list(CODEC.examples(row, CODEC.learn([row], config), config, part))


def test_a_series_is_cut_along_time() -> None:
    labels = [0] * 1000
    row = Row(values=np.arange(1000.0), labels=labels)
    (validation,), (test,) = spans(row, "validation"), spans(row, "test")
    assert validation.answer.counted.sum() == test.answer.counted.sum() == 150
    assert max(e.context.series.values.max() for e in spans(row, "train")) == 699
    assert test.context.series.values.max() == 999
    unlabelled = Row(values=np.arange(1000.0))
    assert spans(unlabelled, "test") == []
    assert spans(unlabelled, "validation")[0].answer.counted.sum() == 150


def test_a_long_part_is_judged_in_segments_with_their_context() -> None:
    row = Row(values=np.arange(2.5 * SEGMENT), split="validation")
    found = spans(row, "validation")
    assert [example.answer.counted.sum() for example in found] == [SEGMENT, SEGMENT, SEGMENT // 2]
    assert len(found[1].answer.counted) > SEGMENT
    assert spans(row, "train") == spans(row, "test") == []


def test_short_series_lie_whole_in_one_part() -> None:
    rows = [Row(values=sine(seed, 30), labels=[0] * 30) for seed in range(60)]
    config = AnomalyConfig(detector="autoencoder")
    state = CODEC.learn(rows, config)
    held = [
        [part for part in ("train", "validation", "test") if list(CODEC.examples(row, state, config, part))]
        for row in rows
    ]
    assert all(len(parts) == 1 for parts in held)
    assert {parts[0] for parts in held} == {"train", "validation", "test"}


@pytest.mark.parametrize("name", ["predictor", "autoencoder"])
def test_labelled_anomalies_are_not_learnt(name: str) -> None:
    values, labels = sine(0, 300), [0] * 300
    values[100:110], labels[100:110] = 1e6, [1] * 10
    row = Row(values=values, labels=labels, split="train")
    config = AnomalyConfig(detector=name)
    for example in CODEC.examples(row, CODEC.learn([row], config), config, "train"):
        assert np.nanmax(example.context.series.values) < 100
    held = Row(values=values, labels=labels, split="validation")
    (example,) = CODEC.examples(held, CODEC.learn([row], config), config, "validation")
    assert np.nanmax(example.context.series.values) == 1e6
    target = example.arrays["target"]
    assert np.nanmax(np.abs(target)) < 9
    assert np.isnan(target).any()


def test_scores_are_pointwise_and_need_labels() -> None:
    random = np.random.default_rng(0)
    rows = []
    for seed in range(4):
        values, labels = sine(seed, 600), [0] * 600
        for at in random.choice(np.arange(430, 590), 6, replace=False):
            values[at] += 3
            labels[at] = 1
        rows.append(Row(values=values, labels=labels))
    asked = AnomalyConfig(hidden=12, epochs=15, lr=0.01, ahead=[1], smoothing=0)
    made = train(CODEC, NETWORK, {"train": rows, "validation": rows, "test": rows}, asked)
    assert made.metrics["auroc"] > 0.95
    assert 0 < made.metrics["auprc"] <= 1
    assert 0 < made.metrics["best_f1"] <= 1
    assert CODEC.score([], []) == {}


def test_the_loss_counts_what_is_there() -> None:
    config = AnomalyConfig(hidden=4)
    row = Row(values=sine(0, 50))
    state = CODEC.learn([row], config)
    example = next(CODEC.examples(row, state, config, "train"))
    net = NETWORK.build(state, config).eval()
    batch = CODEC.collate([example]).mapped(torch.from_numpy)
    whole, count = NETWORK.loss(net, batch)
    batch.arrays["target"][:, 20:] = float("nan")
    less, fewer = NETWORK.loss(net, batch)
    assert fewer < count
    assert 0 < less.item() < whole.item()


def gathered(*records: dict[str, Any]) -> list[dict[str, Any]]:
    made = table(iter(list(enumerate(records, start=2))))
    found = [dict(each[1]) for each in made if not isinstance(each, Bad)]
    for made in found:
        Row.model_validate(made)
    return found


def test_a_table_is_a_record_a_step() -> None:
    (row,) = gathered(
        {"timestamp": "2024-01-02", "value": "2", "label": "1"}, {"timestamp": "2024-01-01", "value": "", "label": None}
    )
    assert (row["values"], row["labels"]) == ([None, 2], [0, "1"])
    assert row["timestamps"][0].startswith("2024-01-01")
    (wide,) = gathered({"time": "1", "a": "1", "b": "2"}, {"time": "2", "a": "3", "b": "NA"})
    assert wide == {"values": [[1, 2], [3, None]]}
    a, b = gathered({"id": "a", "value": 1.0}, {"id": "b", "value": 2.0}, {"id": "a", "value": 3.0})
    assert (a["values"], b["values"]) == ([1.0, 3.0], [2.0])
    assert gathered({"values": [1, 2], "id": "x"}) == [{"values": [1, 2], "id": "x"}]


def test_labels_may_be_words_and_columns_begin_with_capitals() -> None:
    (row,) = gathered({"Time": "2024-01-02", "value": 2, "Anomaly": "True"}, {"Time": "2024-01-01", "value": 1})
    assert (row["values"], row["labels"]) == ([1, 2], [0, 1])


def test_cells_that_are_no_numbers_or_times_are_told_by_line() -> None:
    records = [{"date": "2024-01-01", "value": 1, "city": "Rome"}, {"date": "today", "value": 1, "city": ""}]
    found = [made for made in table(iter(list(enumerate(records, start=2)))) if isinstance(made, Bad)]
    assert [fault.line for fault in found] == [2, 3]
    assert found[0].detail.startswith("city: 'Rome' is no number")
    assert found[1].detail.startswith("'today' is no time")


def test_a_series_of_a_table_lies_in_one_part() -> None:
    (row,) = gathered({"value": 1, "split": "test"}, {"value": 2, "split": "test"})
    assert row["split"] == "test"
    with pytest.raises(Fault, match="names the parts 'train' and 'test'"):
        gathered({"id": "a", "value": 1, "split": "train"}, {"id": "a", "value": 2, "split": "test"})


def test_series_too_short_to_teach_are_told() -> None:
    rows = [Row(values=values) for values in (np.ones(1), np.full(40, np.nan), sine(0, 300))]
    state = CODEC.learn(rows, AnomalyConfig())
    assert CODEC.remarks({"train": rows}, state, AnomalyConfig()) == [
        "2 of 3 series show fewer than 10 values to learn from: give longer ones"
    ]
    assert CODEC.remarks({"train": rows[2:]}, state, AnomalyConfig()) == []
    tally = SeriesTally()
    tally.add(rows[1], line=1, part=None)
    assert "1 of 1 series hold no value at all" in tally.warnings()


def test_the_statistics_of_a_data_set() -> None:
    tally = SeriesTally()
    tally.add(Row.model_validate({"values": [1.0, None, 2.0], "labels": [0, 1, 1]}), line=1, part=None)
    tally.add(Row.model_validate({"values": [3.0, 3.0], "timestamps": ["2024-01-01", "2024-01-02"]}), line=2, part=None)
    stats = tally.stats()
    assert (stats["series"], stats["steps"], stats["missing"], stats["constant_series"]) == (2, 5, 1, 1)
    assert (stats["labelled_anomalies"], stats["labelled_steps"], stats["longest"]) == (1, 2, 3)
    assert any("never change" in found for found in tally.warnings())
    assert any("no timestamps" in found for found in tally.warnings())
    assert any("labelled as anomalies" in found for found in tally.warnings())
    assert tally.faults() == []
    tally.add(Row(values=np.zeros((3, 2))), line=3, part=None)
    assert tally.faults() == [(3, "2 numbers in a step, where the first row has 1")]
    json.dumps(stats)


def test_rows_survive_being_written() -> None:
    row = Row(values=np.array([1.0, np.nan, 2.0]), labels=[0, 1, 0], id="x")
    again = Row.model_validate_json(row.model_dump_json(exclude_none=True))
    np.testing.assert_array_equal(again.values, row.values)
    assert (again.labels, again.id) == ([0, 1, 0], "x")
