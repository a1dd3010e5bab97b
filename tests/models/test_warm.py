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


def built(task: str, rows: list[dict[str, Any]], **config: Any) -> tuple[Any, Any]:
    """The state of some rows, and a net that has learnt nothing."""
    card, made = catalog.card(task), catalog.card(task).config(**(SMALL | config))
    state = catalog.codec(task).learn([card.row.model_validate(row) for row in rows], made)
    return state, catalog.network(task).build(state, made)


def carried(task: str, old: tuple[Any, Any], new: tuple[Any, Any]) -> list[str]:
    warm = Warm(name="old:1", state=old[0], tensors=old[1].state_dict())
    return transfer(catalog.network(task), new[1], new[0], warm)


def test_durations_of_a_melody_keep_their_own_rows() -> None:
    old = built("melody", [{"notes": [{"pitch": 60, "duration": each} for each in (0.5, 1.0, 2.0)]}] * 2)
    new = built("melody", [{"notes": [{"pitch": 60, "duration": each} for each in (0.25, 1.0, 4.0, 2.0)]}] * 2)
    carried("melody", old, new)
    for here, there in ((1, 1), (2, 2), (4, 3)):  # of 1.0, of 2.0, and of what stands before the first note
        kept, known = (net.reader.durations.weight[at] for (_, net), at in ((new, here), (old, there)))
        assert torch.equal(kept, known)
    assert torch.equal(new[1].heads["duration"].output.weight[2], old[1].heads["duration"].output.weight[2])


@pytest.mark.parametrize("joint", [False, True])
def test_pieces_of_a_translation_keep_their_own_rows(joint: bool) -> None:
    words = [("the cat", "le chat"), ("the dog", "le chien"), ("a cat", "un chat")]
    more = [*words, ("a red house", "une maison rouge"), ("the red fox", "le renard rouge")]
    old, new = (
        built("translation", [{"source": a, "target": b} for a, b in pairs] * 4, joint=joint) for pairs in (words, more)
    )
    carried("translation", old, new)
    here, there = (state.written.pieces.index("l") + 3 for state, _ in (new, old))
    assert here != there
    assert torch.equal(new[1].embeddings[-1].weight[here], old[1].embeddings[-1].weight[there])
    assert torch.equal(new[1].embeddings[0].weight[:3], old[1].embeddings[0].weight[:3])
