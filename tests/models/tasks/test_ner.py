"""Entities: exact places in any text, probabilities, grammar, scores, and windows of the longest text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.predictor import Predictor
from models.runtimes.export import export
from models.runtimes.onnx_run import OnnxRun
from models.runtimes.run import Run
from models.runtimes.torch_run import TorchRun
from models.task import Params
from models.tasks.ner.codec import AT_ONCE, CODEC
from models.tasks.ner.network import NETWORK, grammar
from models.tasks.ner.schema import CARD, NerConfig, NerOutput, Row, State
from models.trainer import Trained, train
from tests.models.tasks.test_ner_reading import cut
from tests.samples import sample

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


def ask(predictor: Predictor, items: list[Any]) -> list[NerOutput]:
    parsed = [CARD.parse_item(item) for item in items]
    return predictor.answer([predictor.prepare(item, ALL) for item in parsed], ALL)


@pytest.fixture(scope="module")
def learnt() -> tuple[Trained, NerConfig]:
    config = NerConfig(**SMALL)
    return train(CODEC, NETWORK, sample(CARD), config), config


@pytest.fixture(scope="module")
def predictor(learnt: tuple[Trained, NerConfig]) -> Predictor:
    trained, config = learnt
    return Predictor(CODEC, trained.state, config, TorchRun(trained.net, NETWORK))


def test_the_sample_is_learnt_and_says_something_of_words_never_seen(predictor: Predictor, learnt: tuple) -> None:
    trained, _ = learnt
    assert trained.metrics["validation_entity_f1"] > 0.6
    rows = sample(CARD)["train"]
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
        CODEC.example(text, ALL, trained.state, config)
        for text in [*ODD, *(row.words[0] for row in sample(CARD)["train"])]
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
    state = State(labels=["O", "B-x", "I-x"], counts=[1, 1, 1], rows=1, words=[], characters=[])
    batch = CODEC.collate([CODEC.example("a b", ALL, state, NerConfig())])
    p_begin, p_on = np.log([0.3, 0.6, 0.1]), np.log([0.25, 0.05, 0.7])
    (output,) = CODEC.predict(said([p_begin, p_on]), batch, ALL, state)
    assert [(e.start, e.end) for e in output.entities] == [(0, 3)]
    assert output.entities[0].score == pytest.approx(0.6 * 0.7)
    (output,) = CODEC.predict(said([p_begin, np.log([0.5, 0.2, 0.3])]), batch, ALL, state)
    assert [(e.start, e.end) for e in output.entities] == [(0, 1)]
    assert output.entities[0].score == pytest.approx(0.6 * 0.7)  # and the next token does not go on with it


def test_as_many_entities_are_told_as_serve_the_validation_part_best() -> None:
    state = State(labels=["O", "B-x", "I-x"], counts=[1, 1, 1], rows=1, words=[], characters=[])
    wary = said([np.log([0.6, 0.4, 1e-9]).tolist()])
    batch = CODEC.collate([CODEC.example("a", ALL, state, NerConfig())])
    assert CODEC.calibrate(wary, [batch] * 99, state, [[["B-x"]]] * 99) == state
    eager = CODEC.calibrate(wary, [batch] * 150, state, [[["B-x"]]] * 120 + [[["O"]]] * 30)
    assert eager.least is not None
    assert 0.3 < eager.least < 0.4 + 1e-9
    (output,) = CODEC.predict(wary, batch, ALL, eager)
    assert output.tags == ["B-x"]
    assert output.entities[0].score == pytest.approx(0.4)
    assert CODEC.calibrate(wary, [batch] * 600, state, [[["B-x"]]] * 100 + [[["O"]]] * 500).least == eager.least
    sure = said([np.log([0.3, 0.7, 1e-9]).tolist()])
    assert CODEC.calibrate(sure, [batch] * 100, state, [[["B-x"]]] * 100).least is None


def test_of_likely_entities_that_overlap_the_likelier_one_is_told() -> None:
    labels = ["O", "B-x", "I-x", "B-y", "I-y"]
    state = State(labels=labels, counts=[1] * 5, rows=1, words=[], characters=[], least=0.2)
    batch = CODEC.collate([CODEC.example("a b c", ALL, state, NerConfig())])
    steps = np.log([[0.3, 0.45, 1e-9, 0.25, 1e-9], [0.4, 1e-9, 0.6, 1e-9, 1e-9], [0.75, 1e-9, 1e-9, 0.25, 1e-9]])

    def run(function: str, inputs: Any) -> dict[str, np.ndarray]:
        return {"scores": steps[None], "transitions": np.zeros((1, 5, 5))}

    (output,) = CODEC.predict(run, batch, ALL, state)
    assert output.tags == ["B-x", "I-x", "B-y"]
    assert [entity.score for entity in output.entities] == pytest.approx([0.45 * 0.6, 0.25], abs=1e-6)


def test_bio_is_the_grammar() -> None:
    after, starts = grammar(["O", "B-x", "I-x", "B-y", "I-y"])
    assert starts.tolist() == [True, True, False, True, False]
    assert after[0].tolist() == [True, True, False, True, False]
    assert after[1].tolist() == after[2].tolist() == [True, True, True, True, False]


@pytest.mark.parametrize("seed", range(3))
def test_no_network_ever_answers_tags_that_bio_forbids(seed: int) -> None:
    torch.manual_seed(seed)
    state = CODEC.learn(sample(CARD)["train"], NerConfig())
    config = NerConfig(hidden=4, embedding=4)
    net = NETWORK.build(state, config)
    torch.nn.init.normal_(net.readers[0].output.weight, std=5)
    outputs = ask(
        Predictor(CODEC, state, config, TorchRun(net, NETWORK)), [row.text or "x" for row in sample(CARD)["train"]]
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


def test_a_label_that_no_training_row_has_counts_as_a_mistake_and_not_in_the_loss(learnt: tuple) -> None:
    trained, config = learnt
    odd = Row(tokens=["Rome", "is", "odd"], tags=["B-place", "O", "B-odd"])
    (example,) = CODEC.examples(odd, trained.state, config, "validation")
    (known,) = CODEC.examples(sample(CARD)["validation"][0], trained.state, config, "validation")
    assert example.answer == odd.bio

    def loss(*examples: Any) -> tuple[float, int]:
        tensors = CODEC.collate(examples).mapped(torch.from_numpy)
        total, count = NETWORK.loss(trained.net.eval(), tensors)
        return total.item(), count

    alone, count = loss(known)
    assert count == known.length
    assert loss(known, example) == (pytest.approx(alone, abs=1e-4), count)
    assert loss(example) == (0.0, 0)


def test_a_state_keeps_its_indices_out_of_its_file(learnt: tuple) -> None:
    state = learnt[0].state
    assert len(state.word_index)
    assert state.given_index == {}
    assert state.character_index
    assert set(json.loads(state.model_dump_json())) == set(State.model_fields)
