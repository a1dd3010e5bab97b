"""Tables of labelled steps: lists in cells, or a step a line. Knows files and rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models import catalog
from models.readers import READERS, Bad
from models.task import Fault


def rows(task: str, text: str, folder: Path) -> list[Any]:
    """What a task makes of a CSV file."""
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    card = catalog.card(task)
    assert card.table is not None
    records = (record for record in READERS["text/csv"](path) if not isinstance(record, Bad))
    return [card.row.model_validate(dict(record)) for _, record in card.table(records)]


@pytest.mark.parametrize(
    ("cell", "values"),
    [
        ('"[1, 2.5]"', [1, 2.5]),
        ("1 2.5", [1, 2.5]),
        ('"1, 2.5"', [1, 2.5]),
        ("1;2.5", [1, 2.5]),
        ('"[[1, 2], [3, 4]]"', [[1, 2], [3, 4]]),
    ],
)
def test_values_stand_in_a_cell(cell: str, values: list[Any], tmp_path: Path) -> None:
    (row,) = rows("sequences", f"label,values\na,{cell}\n", tmp_path)
    assert (row.label, row.values.tolist()) == ("a", values)


def test_tokens_stand_in_a_cell_or_a_line_each(tmp_path: Path) -> None:
    (row,) = rows("sequences", "tokens,label,split\ngo on; 7 times,a,test\n", tmp_path)
    assert (row.words, row.label, row.split) == (["go", "on;", "7", "times"], "a", "test")
    first, second = rows("sequences", "id,note,token,label\n1,x,go,a\n1,y,on,a\n2,,stop,b\n", tmp_path)
    assert (first.words, first.label, second.words, second.label) == (["go", "on"], "a", ["stop"], "b")


def test_a_step_a_line_becomes_a_row_an_id(tmp_path: Path) -> None:
    text = "id,time,x,y,label,split\nu,0,1,2,a,train\nu,1,3,4,a,train\nv,0,5,6,b,test\n"
    for task, field in (("sequences", "values"), ("actions", "frames")):
        first, second = rows(task, text, tmp_path)
        assert getattr(first, field).tolist() == [[1, 2], [3, 4]]
        assert (first.label, first.split, second.label, second.split) == ("a", "train", "b", "test")
        assert getattr(second, field).tolist() == [[5, 6]]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("id,x,label\nu,1,a\nv,1,a\nu,2,a\n", "line 4: id 'u' stood above already"),
        ("id,x,label\nu,1,a\nu,2,b\n", "the id 'u' has several labels: a, b"),
        ("x,label\n1,a\n", "line 2 has no `id`"),
        ("id,x,label,split\nu,1,a,train\nu,2,a,test\n", "several splits"),
    ],
)
def test_lines_that_make_no_row_are_named(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(Fault, match=sentence):
        rows("actions", text, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "label,values\na,[1\n",
        "label,values\na,one two\n",
        "label,values\na,\n",
        "id,x,label\nu,,a\n",
        "id,label\n1,a\n",
    ],
)
def test_a_table_without_numbers_or_ids_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="validation error"):
        rows("sequences", text, tmp_path)
