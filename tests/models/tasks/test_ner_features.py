"""What the network of entities is given: windows, words known and never seen, shapes, vectors; every option counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from models.batch import Batch
from models.task import Params
from models.tasks.ner.codec import CODEC, KINDS, WIDTH, rows_of, shape_of, window_ends
from models.tasks.ner.network import NETWORK
from models.tasks.ner.schema import CARD, NerConfig, Row, State
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


def change(config: NerConfig) -> Any:
    """What the options of the network come to: its loss on one batch, freshly made and learning."""
    torch.manual_seed(0)
    rows = sample(CARD)["train"][:4]
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
