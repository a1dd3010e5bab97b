"""What is read as entities: tokens of any text, every way of tagging, and rows that lie."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models.tasks.ner.codec import WIDTH, shape_of
from models.tasks.ner.schema import CARD, MOST_LABELS, NerTally, Row
from models.tasks.ner.tags import bio, spans
from models.tasks.ner.tokens import places


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in places(text)]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("John lives in New York.", ["John", "lives", "in", "New", "York", "."]),
        ("Don't say Emma's isn't", ["Do", "n't", "say", "Emma", "'s", "is", "n't"]),
        ("we’ll, O'Brien’s", ["we", "’ll", ",", "O'Brien", "’s"]),
        ("U.S. 1,000.5 10:30 3rd", ["U.S.", "1,000.5", "10:30", "3rd"]),
        ("Coca-Cola AT&T and/or", ["Coca-Cola", "AT&T", "and", "/", "or"]),
        (
            "(see https://a.b/c?d=1), or a.b@c.org!!",
            ["(", "see", "https://a.b/c?d=1", ")", ",", "or", "a.b@c.org", "!!"],
        ),
        ("@emma_w #NewYork # @", ["@emma_w", "#NewYork", "#", "@"]),
        ("Well...no?!", ["Well", "...", "no", "?", "!"]),
        ("caf\u00e9 cafe\u0301 हिन्दी", ["caf\u00e9", "cafe\u0301", "हिन्दी"]),
        ("👩‍👩‍👧‍👦👍🏽🇵🇪🇵🇪1️⃣", ["👩‍👩‍👧‍👦", "👍🏽", "🇵🇪", "🇵🇪", "1️⃣"]),
        ("北京 カナ 서울", ["北", "京", "カ", "ナ", "서울"]),
        ("a\u200bb\ufeff \u200fשלום", ["a", "b", "שלום"]),
        ("a\tb\r\nc\u2028d\u00a0e", ["a", "b", "c", "d", "e"]),
        ("\u0301", ["\u0301"]),
        (" \r\n\u200b", []),
    ],
)
def test_texts_are_cut_as_treebanks_are(text: str, tokens: list[str]) -> None:
    assert cut(text) == tokens


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
@settings(max_examples=300, deadline=None)
def test_tokens_are_in_order_and_leave_out_only_what_cannot_be_seen(text: str) -> None:
    end = 0
    for start, after in [*places(text), (len(text), len(text))]:
        assert end <= start <= after
        assert all(not c.isprintable() or c.isspace() for c in text[end:start])
        assert not any(c.isspace() for c in text[start:after])
        end = after


@pytest.mark.parametrize(
    "piece", ["a", "aa.", "a@", "@", "http://.", "n'", "a-", "-", "www.", "\u0301", "1,", "A.", "👩\u200d", "aA"]
)
def test_no_text_is_long_in_cutting(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    began = time.process_time()
    found = cut(text)
    for token in found:
        shape_of(token[:WIDTH])
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O B-x I-x O", "O B-x I-x O"),
        ("I-x I-x B-x O I-y", "B-x I-x B-x O B-y"),  # IOB1: B parts what touches
        ("I-x I-y", "B-x B-y"),
        ("B-x E-x S-x S-x O", "B-x I-x B-x B-x O"),  # BIOES
        ("B-x I-x L-x U-x", "B-x I-x I-x B-x"),  # BILOU
        ("E-x I-x", "B-x B-x"),  # ended, so what goes on begins
        ("B-x I-y I-x", "B-x B-y B-x"),
        ("B-a-b I-a-b", "B-a-b I-a-b"),
    ],
)
def test_every_scheme_is_read_by_one_rule(tags: str, expected: str) -> None:
    found = spans(tags.split())
    assert bio([(s.start, s.end, s.label) for s in found], len(tags.split())) == expected.split()
    assert Row(tokens=["t"] * len(tags.split()), tags=tags.split()).bio == expected.split()


def tallied(*rows: dict[str, Any]) -> NerTally:
    tally = NerTally()
    for line, row in enumerate(rows, start=1):
        tally.add(Row(**row), line=line, part=row.get("split"))
    return tally


def tagged(tags: str) -> dict[str, Any]:
    return {"tokens": ["t"] * len(tags.split()), "tags": tags.split()}


@pytest.mark.parametrize(
    ("rows", "scheme", "warned"),
    [
        (["B-x I-x O", "B-x B-x"], "BIO", None),
        (["I-x I-x O", "I-x B-x"], "IOB1", None),
        (["B-x E-x O S-x", "B-x I-x E-x"], "BIOES", None),
        (["B-x L-x O U-x"], "BILOU", None),
        (["B-x O", "B-x O", "O I-x I-x"], "BIO", "1 entity is not written as BIO wants it, the first on line 3"),
        (["B-x E-x", "B-x I-x", "B-x"], "BIOES", "2 entities are not written as BIOES wants it, the first on line 2"),
    ],
)
def test_the_scheme_of_a_file_is_found_and_what_breaks_it_told(
    rows: list[str], scheme: str, warned: str | None
) -> None:
    tally = tallied(*map(tagged, rows))
    assert tally.stats()["scheme"] == scheme
    assert [w for w in tally.warnings() if "wants it" in w] == [w for w in tally.warnings() if warned and warned in w]
    assert bool(warned) == any("wants it" in w for w in tally.warnings())


def test_the_tally_counts_tokens_and_entities_and_knows_what_cannot_be_learnt() -> None:
    text = {
        "text": "Ana met Googlers.",
        "entities": [{"start": 0, "end": 3, "label": "p"}, {"start": 8, "end": 14, "label": "c"}],
    }
    tally = tallied(text, tagged("B-p O"), tagged("B-q") | {"split": "test"})
    assert tally.stats() == {
        "entities": {"p": 2, "c": 1, "q": 1},
        "tokens": 7,
        "mean_tokens": 2.3,
        "longest_tokens": 4,
        "scheme": "BIO",
    }
    assert tally.faults() == []
    assert tally.warnings() == [
        "entities begin or end within 1 token, the first on line 1 within 'Googlers'; they are learnt with the whole token",
        "'c' has one entity; add more or drop it",
        "'q' has one entity; add more or drop it",
        "'q' stands in no training row and cannot be learnt",
    ]
    assert tallied(tagged("O O")).faults() == [(None, "the rows hold no entity; there is nothing to learn")]
    only_test = tallied(tagged("B-p") | {"split": "test"})
    assert only_test.faults() == [(None, "the training part holds no entity; there is nothing to learn")]
    many = tallied(*(tagged(f"B-{i}") for i in range(MOST_LABELS + 2)))
    assert many.faults() == [(MOST_LABELS + 1, f"more than {MOST_LABELS} different labels of entities")]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"tokens": ["a", "b", "c"], "tags": ["O", "O"]}, "3 tokens but 2 tags"),
        ({"tokens": ["a"]}, "tokens come with `tags`"),
        ({"tokens": ["a"], "tags": ["O"], "entities": []}, "tokens come with `tags`"),
        ({"text": "a"}, "a text comes with `entities`"),
        ({"text": "a", "tokens": ["a"], "tags": ["O"]}, "either `text` or `tokens`"),
        ({"tokens": [""], "tags": ["O"]}, "at least 1 character"),
        ({"tokens": [], "tags": []}, "at least 1 item"),
        ({"tokens": ["a", "b"], "tags": ["O", "PER"]}, "tag 1 is 'PER': `O`, or B, I, E, S, L or U with a label"),
        ({"tokens": ["a"], "tags": ["B-"]}, "tag 0 is 'B-'"),
        (
            {"text": "Ana", "entities": [{"start": 0, "end": 4, "label": "p"}]},
            "'p' 0:4 does not lie within a text of 3",
        ),
        ({"text": "Ana", "entities": [{"start": 2, "end": 2, "label": "p"}]}, "2:2 does not lie within"),
        ({"text": "Ana", "entities": [{"start": -1, "end": 2, "label": "p"}]}, "greater than or equal to 0"),
        ({"text": "a  b", "entities": [{"start": 1, "end": 3, "label": "p"}]}, "1:3 covers no token, only '  '"),
        (
            {
                "text": "Ana Li",
                "entities": [{"start": 0, "end": 6, "label": "p"}, {"start": 4, "end": 6, "label": "q"}],
            },
            "'p' 0:6 and 'q' 4:6 overlap",
        ),
        (
            {
                "text": "NewYork",
                "entities": [{"start": 0, "end": 3, "label": "p"}, {"start": 3, "end": 7, "label": "q"}],
            },
            "'q' 3:7 lies in the token 'NewYork' that the entity before it reaches into",
        ),
        (
            {"text": "Ana Li", "entities": [{"start": 0, "end": 3, "label": "p", "text": "Li"}]},
            "0:3 is 'Ana', not 'Li'",
        ),
    ],
)
def test_a_row_that_lies_is_refused_in_a_sentence(row: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match="validation error") as caught:
        Row(**row)
    assert sentence in str(caught.value)


def test_entities_of_a_text_become_tags_of_whole_tokens_in_any_order() -> None:
    entities = [{"start": 12, "end": 17, "label": "c"}, {"start": 0, "end": 8, "label": "p", "text": "José Li "}]
    row = Row(text="José Li 👍🏽 Goog😀le", entities=[{**entities[0], "start": 11, "end": 13}, entities[1]])
    assert row.words == ["José", "Li", "👍🏽", "Goog", "😀", "le"]
    assert row.bio == ["B-p", "I-p", "O", "B-c", "O", "O"]
    assert row.widened == ["Goog"]


@pytest.mark.parametrize(
    "item",
    [
        "",
        {},
        None,
        [],
        3,
        {"text": ""},
        {"tokens": []},
        {"tokens": [""]},
        {"text": "a", "tokens": ["a"]},
        {"text": "a", "lang": "en"},
        {"tokens": "a"},
    ],
)
def test_what_is_no_item_is_refused(item: Any) -> None:
    with pytest.raises(ValidationError):
        CARD.parse_item(item)


def test_a_table_has_tokens_and_tags_in_cells_or_entities_in_json() -> None:
    lines = [
        (2, {"tokens": "in Rome", "tags": "O B-p", "text": None, "entities": None}),
        (3, {"tokens": None, "tags": None, "text": "in Rome", "entities": '[{"start": 3, "end": 7, "label": "p"}]'}),
    ]
    rows = [CARD.row.model_validate(record) for _, record in CARD.table(iter(lines))]
    assert [row.bio for row in rows] == [["O", "B-p"]] * 2
    ((_, record),) = CARD.table(iter([(2, {"text": "Rome", "entities": "[{"})]))
    with pytest.raises(ValidationError, match="valid list"):
        CARD.row.model_validate(record)
