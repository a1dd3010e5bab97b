"""A warm start: what fits is carried over by name, what does not begins anew, and the log says which."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from models import catalog
from models.monitor import Silent
from models.task import Config, Part
from models.trainer import Trained, train
from models.warm import Warm, transfer

SMALL = {"hidden": 8, "embedding": 8, "epochs": 3, "lr": 0.01}


class Watch(Silent):
    """Remembers the log."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def log(self, text: str, level: str = "info") -> None:
        self.said.append(text)


def learn(texts: dict[str, list[str]], *, warm: Warm | None = None, watch: Watch | None = None, **more: Any) -> Trained:
    card = catalog.card("sentiment")
    rows = [card.row(text=text, label=label) for label, found in texts.items() for text in found] * 3
    parts: dict[Part, list[Any]] = {"train": rows, "validation": rows, "test": []}
    config: Config = card.config(**(SMALL | more))
    return train(catalog.codec("sentiment"), catalog.network("sentiment"), parts, config, warm=warm, monitor=watch)


def started(trained: Trained) -> Warm:
    return Warm(name="old:1", state=trained.state, tensors=trained.net.state_dict())


OLD = {"good": ["a fine film", "a lovely film"], "bad": ["a dull film", "an awful film"]}
NEW = {"bad": ["a dull play", "an awful play"], "fair": ["a passable play"], "good": ["a fine play", "a lovely play"]}


@pytest.fixture(scope="module")
def old() -> Trained:
    return learn(OLD)


def test_words_and_labels_keep_their_own_rows_where_vocabularies_differ(old: Trained) -> None:
    new = learn(NEW)
    network, net = catalog.network("sentiment"), new.net
    was = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    said = transfer(network, net, new.state, started(old))
    here, there = new.state.labels.index("bad"), old.state.labels.index("bad")
    assert torch.equal(net.output.weight[here], old.net.output.weight[there])
    assert torch.equal(net.output.bias[here], old.net.output.bias[there])
    fair = new.state.labels.index("fair")
    assert torch.equal(net.output.weight[fair], was["output.weight"][fair]), "a label that is new begins anew"
    for word in ("fine", "dull"):
        row, known = (each.state.vocabulary.index(word) + 2 for each in (new, old))
        assert torch.equal(net.words.weight[row], old.net.words.weight[known])
    play = new.state.vocabulary.index("play") + 2
    assert torch.equal(net.words.weight[play], was["words.weight"][play])
    assert said[0].startswith("beginning from old:1: ")
    assert any(text.startswith("words.weight: ") and "%" in text for text in said)
    assert any(text.startswith("output.weight: 66.7% carried over") for text in said)


def test_what_has_another_shape_begins_anew_and_is_named(old: Trained) -> None:
    watch = Watch()
    begun = learn(OLD, warm=started(old), watch=watch, embedding=4)
    assert begun.history[0].epoch == 0
    assert any(text.startswith("words.weight begins anew: it is ") and text.endswith("in old:1") for text in watch.said)


def test_a_training_that_gets_no_better_keeps_the_weights_it_began_with(old: Trained) -> None:
    begun = learn(OLD, warm=started(old), lr=1e-9, dropout=0.0)
    assert begun.metrics["validation_loss"] <= old.metrics["validation_loss"] + 1e-6
    assert [report.epoch for report in begun.history] == [0, 1, 2, 3]
