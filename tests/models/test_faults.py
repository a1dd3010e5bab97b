"""Every fault of a request or of a row is a sentence that a person can act on."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from models import catalog
from models.faults import summary, told, within
from models.task import Schema


def sentences(shape: Any, value: Any) -> list[tuple[tuple, str]]:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(shape).validate_python(value)
    return told((within(each["loc"], each, value), each) for each in caught.value.errors())


@pytest.mark.parametrize(
    ("task", "item", "place", "sentence"),
    [
        ("sentiment", "", (), "it is empty"),
        ("sentiment", 5, (), "a text or an object is expected, not 5"),
        ("sentiment", None, (), "a text or an object is expected, not null"),
        ("sentiment", {}, ("text",), "`text` is missing"),
        ("sentiment", {"text": ["x"]}, ("text",), "a text is expected, not a list"),
        ("sentiment", "x" * 100_001, (), "the text is longer than 100000 characters"),
        ("ner", {"tokens": []}, ("tokens",), "it is empty"),
        ("ner", {"tokens": ["a"], "text": "a"}, (), "either `text` or `tokens` is expected, and not both"),
        ("forecasting", {"values": []}, ("values",), "it is empty"),
        ("forecasting", {"values": [1, "x" * 90]}, ("values", 1), f"a number is expected, not '{'x' * 60}...'"),
        ("forecasting", {"values": [1e16]}, ("values", 0), "at most 1e+15 is expected, not 1e+16"),
        ("forecasting", {"values": [1], "start": "soon"}, ("start",), "'soon' is no time; write it as 2024-01-31T00:"),
        ("forecasting", {"values": [1], "vals": 1}, ("vals",), "unknown field `vals`"),
        ("forecasting", {"values": [float("nan")]}, ("values", 0), "a finite number is expected, not NaN"),
        ("forecasting", [1, 2], (), "an object is expected, not a list"),
        ("melody", {"notes": [{"pitch": 300}]}, ("notes", 0, "pitch"), "at most 127 is expected, not 300"),
    ],
)
def test_a_fault_of_an_item_is_one_sentence(task: str, item: Any, place: tuple, sentence: str) -> None:
    ((where, detail),) = sentences(catalog.card(task).item, item)
    assert where == place
    assert detail.startswith(sentence)


def test_a_name_is_explained_and_a_choice_is_listed() -> None:
    shape = catalog.card("sentiment").config
    ((_, detail),) = told((e["loc"], e) for e in errors(shape, {"vectors": "My Vectors"}))
    assert detail == "'My Vectors' is no name; use a-z, 0-9, '.', '_' and '-', at most 64 of them"
    ((_, detail),) = told((e["loc"], e) for e in errors(shape, {"cell": "GRU"}))
    assert detail == "'lstm', 'gru', 'rnn', 'peephole', 'coupled' or 'slstm' is expected, not 'GRU'"


def test_a_row_is_summed_up_in_one_sentence() -> None:
    class Row(Schema):
        text: str
        places: list[int]

    for row, sentence in [
        ({"review": "x", "stars": 5}, "`text` is missing; `places` is missing; unknown field `review`; unknown field"),
        ({"text": "x", "places": [1, "a", "b"]}, "places.1: a whole number is expected, not 'a' (and 1 more)"),
    ]:
        with pytest.raises(ValidationError) as caught:
            Row.model_validate(row)
        assert summary(caught.value, row).startswith(sentence)


def errors(shape: type[Schema], value: Any) -> list[Any]:
    with pytest.raises(ValidationError) as caught:
        shape.model_validate(value)
    return caught.value.errors()
