"""Entities: exact places in any text, every way of tagging, rows that lie, probabilities, and words never seen."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import models.tasks.ner
from models.batch import Batch
from models.predictor import Predictor
from models.runtimes.export import export
from models.runtimes.onnx_run import OnnxRun
from models.runtimes.run import Run
from models.runtimes.torch_run import TorchRun
from models.task import Params
from models.tasks.ner.codec import AT_ONCE, CODEC, KINDS, WIDTH, rows_of, shape_of, window_ends
from models.tasks.ner.network import NETWORK, grammar
from models.tasks.ner.schema import CARD, MOST_LABELS, NerConfig, NerOutput, NerTally, Row, State
from models.tasks.ner.tags import bio, spans
from models.tasks.ner.tokens import places
from models.trainer import Trained, train
from models.vectors import WordVectors
from models.vocab import SPECIAL, UNKNOWN

ALL = Params()
SMALL = {"hidden": 24, "embedding": 24, "filters": 16, "lr": 0.01, "dropout": 0.3, "epochs": 15, "patience": 15}
ODD = [
    "   ",
    "\u200b",
    "😀",
    "a" * 5000,
    "e\u0301 " * 40,
    "東京は日本の首都です",
    "ज़िंदगी",
    "\u0000\ufffe\r\n\t",
    "Maria\r\nlives\tin Rome",
    "New York! " * 700,
]


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in places(text)]


def sample() -> dict[str, list[Row]]:
    path = Path(models.tasks.ner.__path__[0]) / "sample.jsonl"
    parts: dict[str, list[Row]] = {"train": [], "validation": []}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = Row.model_validate_json(line)
        parts[row.split or "train"].append(row)
    return parts


def ask(predictor: Predictor, items: list[Any]) -> list[NerOutput]:
    parsed = [CARD.parse_item(item) for item in items]
    return predictor.answer([predictor.prepare(item, ALL) for item in parsed], ALL)


@pytest.fixture(scope="module")
def learnt() -> tuple[Trained, NerConfig]:
    config = NerConfig(**SMALL)
    return train(CODEC, NETWORK, sample(), config), config


@pytest.fixture(scope="module")
def predictor(learnt: tuple[Trained, NerConfig]) -> Predictor:
    trained, config = learnt
    return Predictor(CODEC, trained.state, config, TorchRun(trained.net, NETWORK))


# tokens


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


# tags


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


# rows and items


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


# answers


def test_the_sample_is_learnt_and_says_something_of_words_never_seen(predictor: Predictor, learnt: tuple) -> None:
    trained, _ = learnt
    assert trained.metrics["validation_entity_f1"] > 0.6
    rows = sample()["train"]
    outputs = ask(predictor, [{"tokens": row.words} for row in rows])
    assert CODEC.score(outputs, [row.bio for row in rows])["entity_f1"] > 0.95
    (output,) = ask(predictor, ["Dorotea lives in Oslo."])
    assert ("place", 17, 21, "Oslo") in [(e.label, e.start, e.end, e.text) for e in output.entities]


@pytest.mark.parametrize(
    "text",
    [
        "Maria lives in\tNew Delhi\r\nJosé  works for Brightwater 🌊🇵🇪 in Zu\u0308rich",
        "🌊🌊 Tom Berg",
        "e\u0301\u0301 Rome\n",
    ],
)
def test_places_are_exact_whatever_stands_in_the_text(predictor: Predictor, text: str) -> None:
    (output,) = ask(predictor, [text])
    assert output.tokens == cut(text)
    assert len(output.tags) == len(output.tokens)
    assert output.entities
    for entity in output.entities:
        assert text[entity.start : entity.end] == entity.text
        assert 0 < entity.score <= 1


def test_tokens_are_answered_by_their_own_places(predictor: Predictor) -> None:
    (output,) = ask(predictor, [{"tokens": ["Nora", "Berg", "lives", "in", "San", "Marino"]}])
    assert output.tags == ["B-person", "I-person", "O", "O", "B-place", "I-place"]
    found = [(e.label, e.start, e.end, e.text) for e in output.entities]
    assert found == [("person", 0, 2, "Nora Berg"), ("place", 4, 6, "San Marino")]


def always_an_entity(predictor: Predictor, name: str, inputs: Any) -> dict[str, np.ndarray]:
    answer = predictor.run(name, inputs)
    return {**answer, "scores": answer["scores"] + np.array([-100.0] + [0.0] * (len(predictor.state.labels) - 1))}


def test_any_text_answers_alone_and_in_company_the_same(predictor: Predictor) -> None:
    together = ask(predictor, ODD)
    for text, one in zip(ODD, together, strict=True):
        (alone,) = ask(predictor, [text])
        assert alone.tags == one.tags
        assert len(one.tokens) == len(one.tags)
        assert [e.score for e in alone.entities] == pytest.approx([e.score for e in one.entities], abs=1e-5)
    empty = Predictor(
        CODEC, predictor.state, predictor.config, lambda name, inputs: always_an_entity(predictor, name, inputs)
    )
    assert ask(empty, ODD[:2]) == [NerOutput(entities=[], tokens=[], tags=[])] * 2
    assert together[0] == NerOutput(entities=[], tokens=[], tags=[])


def test_the_exported_network_gives_the_same_answers(learnt: tuple, tmp_path: Path) -> None:
    trained, config = learnt
    examples = [
        CODEC.example(text, ALL, trained.state, config) for text in [*ODD, *(row.words[0] for row in sample()["train"])]
    ]
    batches = [CODEC.collate(some) for some in (examples[3:], examples[:1], examples)]

    def asked(run: Run) -> None:
        for batch in batches:
            CODEC.predict(run, batch, ALL, trained.state)

    assert export(NETWORK, trained.net, asked, tmp_path) is None
    expected = CODEC.predict(TorchRun(trained.net, NETWORK), batches[0], ALL, trained.state)
    for one, other in zip(CODEC.predict(OnnxRun(tmp_path), batches[0], ALL, trained.state), expected, strict=True):
        assert one.tags == other.tags
        assert [e.score for e in one.entities] == pytest.approx([e.score for e in other.entities], abs=1e-5)


def said(scores: list[list[float]], transitions: Any = None) -> Run:
    """A run that always says this of one text, to labels O, B-x, I-x."""
    between = np.zeros((1, 3, 3)) if transitions is None else np.array([transitions])
    return lambda function, inputs: {"scores": np.array([scores]), "transitions": between}


def test_a_score_is_the_probability_of_just_this_stretch() -> None:
    state = State(labels=["O", "B-x", "I-x"], counts=[1, 1, 1], rows=1, words=[], rows_of_words=[], characters=[])
    batch = CODEC.collate([CODEC.example("a b", ALL, state, NerConfig())])
    p_begin, p_on = np.log([0.3, 0.6, 0.1]), np.log([0.25, 0.05, 0.7])
    (output,) = CODEC.predict(said([p_begin, p_on]), batch, ALL, state)
    assert [(e.start, e.end) for e in output.entities] == [(0, 3)]
    assert output.entities[0].score == pytest.approx(0.6 * 0.7)
    (output,) = CODEC.predict(said([p_begin, np.log([0.5, 0.2, 0.3])]), batch, ALL, state)
    assert [(e.start, e.end) for e in output.entities] == [(0, 1)]
    assert output.entities[0].score == pytest.approx(0.6 * 0.7)  # and the next token does not go on with it


def test_as_many_entities_are_told_as_serve_the_validation_part_best() -> None:
    state = State(labels=["O", "B-x", "I-x"], counts=[1, 1, 1], rows=1, words=[], rows_of_words=[], characters=[])
    wary = said([np.log([0.6, 0.4, 1e-9]).tolist()])
    batch = CODEC.collate([CODEC.example("a", ALL, state, NerConfig())])
    assert CODEC.calibrate(wary, [batch] * 99, state, [[["B-x"]]] * 99) == state
    eager = CODEC.calibrate(wary, [batch] * 150, state, [[["B-x"]]] * 120 + [[["O"]]] * 30)
    assert eager.eagerness == 0.5
    (output,) = CODEC.predict(wary, batch, ALL, eager)
    assert output.tags == ["B-x"]
    assert output.entities[0].score == pytest.approx(0.4)
    assert CODEC.calibrate(wary, [batch] * 600, state, [[["B-x"]]] * 100 + [[["O"]]] * 500).eagerness == 0.5
    sure = said([np.log([0.3, 0.7, 1e-9]).tolist()])
    assert CODEC.calibrate(sure, [batch] * 100, state, [[["B-x"]]] * 100).eagerness == 0


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


def test_bio_is_the_grammar() -> None:
    after, starts = grammar(["O", "B-x", "I-x", "B-y", "I-y"])
    assert starts.tolist() == [True, True, False, True, False]
    assert after[0].tolist() == [True, True, False, True, False]
    assert after[1].tolist() == after[2].tolist() == [True, True, True, True, False]


@pytest.mark.parametrize("seed", range(3))
def test_no_network_ever_answers_tags_that_bio_forbids(seed: int) -> None:
    torch.manual_seed(seed)
    state = CODEC.learn(sample()["train"], NerConfig())
    config = NerConfig(hidden=4, embedding=4)
    net = NETWORK.build(state, config)
    torch.nn.init.normal_(net.output.weight, std=5)
    outputs = ask(
        Predictor(CODEC, state, config, TorchRun(net, NETWORK)), [row.text or "x" for row in sample()["train"]]
    )
    for output in outputs:
        for before, tag in zip(["O", *output.tags], output.tags, strict=False):
            assert not tag.startswith("I-") or before[1:] == tag[1:]


def test_scores_are_seqevals_and_a_part_of_an_entity_counts_for_nothing() -> None:
    def output(tags: str) -> NerOutput:
        return NerOutput(entities=[], tokens=["t"] * len(tags.split()), tags=tags.split())

    answers = ["B-x I-x O B-y", "O O"]
    found = CODEC.score([output("B-x O O B-y"), output("O B-x")], [answer.split() for answer in answers])
    assert found == pytest.approx({"entity_f1": 0.4, "precision": 1 / 3, "recall": 0.5, "token_accuracy": 4 / 6})
    assert CODEC.score([output("O")], [["O"]])["entity_f1"] == 0
    assert CODEC.score([NerOutput(entities=[], tokens=[], tags=[])], [["O"]])["token_accuracy"] == 1


# features


def test_windows_end_after_sentences_and_an_entity_they_cut_begins_anew() -> None:
    tokens = list("ab.cdefg.h")
    assert window_ends(tokens, 4) == [3, 7, 10]
    assert window_ends(tokens, 100) == [10]
    assert window_ends(["x"] * 9, 4) == [4, 8, 9]
    row = Row(tokens=["t"] * 5, tags=["B-x", "I-x", "I-x", "I-x", "O"])
    config = NerConfig(max_tokens=3)
    state = CODEC.learn([row], config)
    example = next(CODEC.examples(row, state, config, "train"))
    assert [state.labels[i] for i in example.arrays["labels"]] == ["B-x", "I-x", "I-x", "B-x", "O"]
    assert example.answer == row.bio


def test_the_longest_text_is_read_a_few_windows_at_a_time(learnt: tuple, predictor: Predictor) -> None:
    trained, _ = learnt
    config = NerConfig(max_tokens=2)
    read = CODEC.collate([CODEC.example("Rome " * 5 * AT_ONCE, ALL, trained.state, config)] * 2)
    calls = []

    def run(function: str, inputs: Any) -> dict[str, np.ndarray]:
        calls.append(len(inputs["words"]))
        return predictor.run(function, inputs)

    outputs = CODEC.predict(run, read, ALL, trained.state)
    assert max(calls) == AT_ONCE
    assert [len(output.tags) for output in outputs] == [5 * AT_ONCE] * 2


def test_words_are_known_as_written_in_lower_case_or_without_their_sign() -> None:
    rows = [Row(tokens=["Rome", "rome", "x"], tags=["B-p", "O", "O"])]
    state = CODEC.learn(rows, NerConfig())
    read = CODEC.example({"tokens": ["ROME", "#Rome", "never", "x"]}["tokens"][0], ALL, state, NerConfig())
    assert read.arrays["words"].tolist() == [SPECIAL]
    item = CARD.parse_item({"tokens": ["#Rome", "never", "Rome" * 9]})
    read = CODEC.example(item, ALL, state, NerConfig())
    assert read.arrays["words"].tolist() == [SPECIAL, UNKNOWN, UNKNOWN]
    assert (read.arrays["characters"] > 0).sum(1).tolist() == [5, 5, WIDTH]
    assert CODEC.learn(rows, NerConfig(min_count=2)).words == ["rome"]
    assert CODEC.learn(rows, NerConfig(max_words=1)).words == ["rome"]


def test_shapes_tell_kinds_of_tokens_apart() -> None:
    tokens = ["@a", "#a", "http://a", "1,000", "A", "USA", "Émile", "b2", "iPhone", "der", "?!"]
    found = [shape_of(token) for token in tokens]
    assert len(set(found)) == len(tokens)
    assert all(0 < shape < KINDS for shape in found)


VECTORS = WordVectors(
    {"rome": 2, "Rome": 2, "Paris": 0, "paris": 1, "oslo": 2, "far": 3},
    np.array([[1, 2, 3], [4, 5, 6], [-1, 0, 1], [7, 7, 7]], dtype=np.float16),
)


def test_given_vectors_make_words_known_that_no_row_has() -> None:
    table = rows_of(["in", "rome"], VECTORS, 2)
    assert table == {"in": 0, "rome": 1, "Paris": 2, "paris": 3, "oslo": 1}  # "Rome" is "rome"; "far" is one too many
    assert rows_of(["in", "rome"], VECTORS, 0) == {"in": 0, "rome": 1, "oslo": 1}
    config = NerConfig(vectors="given", hidden=4)
    row = Row(tokens=["in", "Rome"], tags=["O", "B-p"])
    state = CODEC.learn([row], config, VECTORS)
    net = NETWORK.build(State.model_validate_json(state.model_dump_json()), config)
    NETWORK.initialise(net, state, config, VECTORS)
    oslo, paris = (net.words.weight[state.word_rows[word]].detach() for word in ("oslo", "Paris"))
    assert torch.allclose(oslo / oslo.norm(), torch.tensor([-1.0, 0, 1]) / 2**0.5, atol=1e-4)
    assert torch.allclose(paris / paris.norm(), torch.tensor([1.0, 2, 3]) / 14**0.5, atol=1e-4)
    assert not net.words.weight[0].any()
    groups = NETWORK.parameter_groups(net, config)
    assert sum(len(group["params"]) for group in groups) == len(list(net.parameters()))
    assert min(group.get("lr_scale", 1.0) for group in groups) < 1


def test_a_label_that_no_training_row_has_counts_as_a_mistake_and_not_in_the_loss(learnt: tuple) -> None:
    trained, config = learnt
    odd = Row(tokens=["Rome", "is", "odd"], tags=["B-place", "O", "B-odd"])
    (example,) = CODEC.examples(odd, trained.state, config, "validation")
    (known,) = CODEC.examples(sample()["validation"][0], trained.state, config, "validation")
    assert example.answer == odd.bio

    def loss(*examples: Any) -> tuple[float, int]:
        tensors = CODEC.collate(examples).mapped(torch.from_numpy)
        total, count = NETWORK.loss(trained.net.eval(), tensors)
        return total.item(), count

    alone, count = loss(known)
    assert count == known.length
    assert loss(known, example) == (pytest.approx(alone, abs=1e-4), count)
    assert loss(example) == (0.0, 0)


def change(config: NerConfig) -> Any:
    """What the options of the network come to: its loss on one batch, freshly made and learning."""
    torch.manual_seed(0)
    rows = sample()["train"][:4]
    state = CODEC.learn(rows, config, VECTORS if config.vectors else None)
    net = NETWORK.build(state, config)
    NETWORK.initialise(net, state, config, VECTORS if config.vectors else None)
    read = CODEC.collate([next(CODEC.examples(row, state, config, "train")) for row in rows])
    tensors: Batch = read.mapped(torch.from_numpy)
    return NETWORK.loss(net, tensors)[0].item(), len(state.words)


@pytest.mark.parametrize(
    "option",
    [
        {"hidden": 5},
        {"layers": 2},
        {"cell": "gru"},
        {"bidirectional": False},
        {"dropout": 0.2},
        {"embedding": 7},
        {"filters": 5},
        {"kernel": 4},
        {"word_dropout": 0.9},
        {"vectors": "given"},
        {"min_count": 2},
        {"max_words": 3},
        {"max_tokens": 3},
    ],
    ids=lambda option: next(iter(option)),
)
def test_every_option_of_the_network_changes_something(option: dict[str, Any]) -> None:
    plain = {"hidden": 4, "embedding": 4}
    assert change(NerConfig(**plain)) == change(NerConfig(**plain))
    assert change(NerConfig(**plain)) != change(NerConfig(**{**plain, **option}))


def test_fewer_rows_of_given_vectors_are_kept_when_asked() -> None:
    row = Row(tokens=["in", "Rome"], tags=["O", "B-p"])
    words = [CODEC.learn([row], NerConfig(vectors="given", vector_rows=n), VECTORS).words for n in (0, 1, 30)]
    assert [len(found) for found in words] == [3, 4, 6]


def test_a_state_keeps_its_indices_out_of_its_file(learnt: tuple) -> None:
    state = learnt[0].state
    assert state.word_rows
    assert state.character_index
    assert set(json.loads(state.model_dump_json())) == set(State.model_fields)
