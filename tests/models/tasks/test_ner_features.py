"""What the network of entities is given: windows, words known and never seen, shapes, vectors; every option counts."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.batch import Batch
from models.nets.crf import negative_log_likelihood
from models.runtimes.export import export
from models.task import Params
from models.tasks.ner.codec import CODEC, KINDS, WIDTH, cases_of, known, rows_of, shape_of, window_ends
from models.tasks.ner.network import NETWORK
from models.tasks.ner.schema import CARD, NerConfig, Row, State
from models.trainer import train
from models.vectors import WordVectors
from models.vocab import SPECIAL, UNKNOWN
from tests.samples import sample

ALL = Params()


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
    assert table == {"rome": 0, "Paris": 1, "paris": 2, "oslo": 0}  # "Rome" is "rome"; "far" is one too many
    assert rows_of(["in", "rome"], VECTORS, 0) == {"rome": 0, "oslo": 0}
    config = NerConfig(vectors="given", hidden=4)
    row = Row(tokens=["in", "Rome"], tags=["O", "B-p"])
    state = CODEC.learn([row], config, VECTORS)
    net = NETWORK.build(State.model_validate_json(state.model_dump_json()), config)
    NETWORK.initialise(net, state, config, VECTORS)
    oslo, paris = (net.given[known(word, state.given_index)[0]] for word in ("oslo", "Paris"))
    assert torch.allclose(oslo / oslo.norm(), torch.tensor([-1.0, 0, 1]) / 2**0.5, atol=1e-4)
    assert torch.allclose(paris / paris.norm(), torch.tensor([1.0, 2, 3]) / 14**0.5, atol=1e-4)
    assert not net.given[:SPECIAL].any()


def test_given_vectors_are_read_exported_and_never_learnt(tmp_path: Path) -> None:
    config = NerConfig(vectors="given", hidden=4, embedding=4, filters=4, epochs=2, readers=2)
    rows = [Row(tokens=["in", "Rome"], tags=["O", "B-p"]), Row(tokens=["oslo"], tags=["B-p"])]
    trained = train(CODEC, NETWORK, {"train": rows, "validation": rows, "test": []}, config, vectors=VECTORS)
    torch.manual_seed(config.seed)
    fresh = NETWORK.build(trained.state, config)
    NETWORK.initialise(fresh, trained.state, config, VECTORS)
    assert trained.net.given.any()
    assert trained.net.given.equal(fresh.given)
    assert not trained.net.readers[0].words.weight.equal(fresh.readers[0].words.weight)
    batch = CODEC.collate([CODEC.example(text, ALL, trained.state, config) for text in ("in Oslo.", "Paris")])
    assert export(NETWORK, trained.net, lambda run: CODEC.predict(run, batch, ALL, trained.state), tmp_path) is None


def test_a_word_of_given_vectors_is_known_in_any_case_and_tells_in_which_they_have_it() -> None:
    assert [cases_of(word, VECTORS) for word in ("rome", "Paris", "oslo", "never")] == [0b011, 0b011, 0b001, 0]
    capitals = WordVectors({"NASA": 0, "Nasa": 1}, np.ones((2, 3), dtype=np.float16))
    assert cases_of("NASA", capitals) == 0b110
    index = {"rome": (0, 3), "Oslo": (1, 2), "NASA": (2, 4)}
    said = {"rome": 0, "ROME": 0, "*Rome*": 0, "#rome": 0, "OSLO": 1, "oslo": 1, "@nasa:": 2, "nas": None, "*": None}
    for token, row in said.items():
        expected = (UNKNOWN, UNKNOWN) if row is None else (SPECIAL + row, SPECIAL + [3, 2, 4][row])
        assert known(token, index) == expected, token


def test_readers_learn_each_for_itself_and_answer_by_their_mean() -> None:
    rows = sample(CARD)["train"][:4]
    config = NerConfig(hidden=4, embedding=4, readers=3)
    state = CODEC.learn(rows, config)
    net = NETWORK.build(state, config).eval()
    NETWORK.initialise(net, state, config, None)
    batch = CODEC.collate([next(CODEC.examples(row, state, config, "train")) for row in rows]).mapped(torch.from_numpy)
    assert NETWORK.names(state).keys() <= dict(net.named_parameters()).keys()
    asked = NETWORK.asked(net, batch)
    opinions = [scores for scores, _ in net.opinions(*asked)]
    assert not any(one.equal(other) for one, other in itertools.combinations(opinions, 2))
    assert torch.allclose(net(*asked)[0], sum(opinions) / 3, atol=1e-5)
    path = batch.arrays["labels"], batch.arrays["lengths"]
    each = [negative_log_likelihood(*said, *path).sum().item() for said in net.opinions(*asked)]
    assert NETWORK.loss(net, batch)[0].item() == pytest.approx(sum(each) / 3, rel=1e-5)


def change(config: NerConfig) -> Any:
    """What the options of the network come to: its loss on one batch, freshly made and learning."""
    torch.manual_seed(0)
    rows = sample(CARD)["train"][:4]
    state = CODEC.learn(rows, config, VECTORS if config.vectors else None)
    net = NETWORK.build(state, config)
    NETWORK.initialise(net, state, config, VECTORS if config.vectors else None)
    read = CODEC.collate([next(CODEC.examples(row, state, config, "train")) for row in rows])
    tensors: Batch = read.mapped(torch.from_numpy)
    return NETWORK.loss(net, tensors)[0].item(), len(state.words), len(net.readers)


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
        {"readers": 2},
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
    words = [CODEC.learn([row], NerConfig(vectors="given", vector_rows=n), VECTORS).given for n in (0, 1, 30)]
    assert [len(found) for found in words] == [2, 3, 5]
