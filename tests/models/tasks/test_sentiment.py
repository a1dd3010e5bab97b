"""Sentiment: any text answers, words come from the training part, scores are probabilities, four sentences teach."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.predictor import Predictor
from models.runtimes.export import export
from models.runtimes.onnx_run import OnnxRun
from models.runtimes.run import Run
from models.runtimes.torch_run import TorchRun
from models.schemas import LabelParams
from models.tasks.sentiment.codec import CODEC
from models.tasks.sentiment.network import NETWORK
from models.tasks.sentiment.schema import CARD, Row, SentimentConfig, State, TextTally
from models.trainer import Trained, train
from models.vectors import WordVectors
from models.vocab import SPECIAL, UNKNOWN
from tests.samples import sample

FOUR = [
    Row(text="This movie was great!", label="positive"),
    Row(text="I hated this film.", label="negative"),
    Row(text="Awesome performance!", label="positive"),
    Row(text="Terrible acting.", label="negative"),
]
ALL = LabelParams()
ODD = ["   ", "😀", "日本語のテキスト", "?!", "ज़िंदगी", "a" * 5000, "\u0000\ufffe", "x " * 2000]


def ask(predictor: Predictor, items: list, params: LabelParams = ALL) -> list:
    return predictor.answer([predictor.prepare(item, params) for item in items], params)


def served(trained: Trained, config: SentimentConfig) -> Predictor:
    return Predictor(CODEC, trained.state, config, TorchRun(trained.net, NETWORK))


@pytest.fixture(scope="module")
def four() -> tuple[Trained, SentimentConfig]:
    config = SentimentConfig()
    return train(CODEC, NETWORK, {"train": FOUR}, config), config


def test_four_sentences_are_learnt_with_the_defaults_and_new_ones_answered(four: tuple) -> None:
    predictor = served(*four)
    assert [output.label for output in ask(predictor, [row.text for row in FOUR])] == [row.label for row in FOUR]
    for output in ask(predictor, ["I loved this movie!", {"text": "This was a waste of time."}["text"]]):
        assert output.label in ("positive", "negative")
        assert 0.5 <= output.score <= 5 / 6, "four rows of two labels make nobody surer"
        assert sum(output.scores.values()) == pytest.approx(1)


def test_the_rows_the_task_ships_with_are_learnt_and_say_something_of_others() -> None:
    parts = sample(CARD)
    predictor = served(train(CODEC, NETWORK, parts, SentimentConfig()), SentimentConfig())
    outputs = ask(predictor, [row.text for row in parts["train"]])
    assert sum(o.label == r.label for o, r in zip(outputs, parts["train"], strict=True)) >= 0.9 * len(outputs)
    unseen = ["I loved this movie!", "A waste of time.", "This was a waste of time."]  # the README's, and example 7's
    assert not {row.text for part in parts.values() for row in part} & set(unseen)
    answered = ask(predictor, unseen)
    assert [output.label for output in answered] == ["positive", "negative", "negative"]
    assert min(output.score for output in answered) > 0.65


def test_any_text_answers_alone_and_in_company_the_same(four: tuple) -> None:
    predictor = served(*four)
    alone = [ask(predictor, [text])[0] for text in ODD]
    together = ask(predictor, ODD)
    for one, other in zip(alone, together, strict=True):
        assert one.label == other.label
        assert one.scores == pytest.approx(other.scores, abs=1e-5)


@given(text=st.text(min_size=1, max_size=300))
def test_every_text_becomes_at_least_one_token(four: tuple, text: str) -> None:
    trained, config = four
    example = CODEC.example(text, ALL, trained.state, config)
    assert example.length == len(example.arrays["words"]) == len(example.arrays["subwords"]) >= 1
    assert (example.arrays["words"] < len(trained.state.vocabulary) + SPECIAL).all()


def test_the_exported_network_gives_the_same_answers(four: tuple, tmp_path: Path) -> None:
    trained, config = four
    examples = [CODEC.example(text, ALL, trained.state, config) for text in [*ODD, *(row.text for row in FOUR)]]
    batches = [CODEC.collate(some) for some in (examples, examples[:1], examples[3:9])]

    def asked(run: Run) -> None:
        for batch in batches:
            CODEC.predict(run, batch, ALL, trained.state)

    assert export(NETWORK, trained.net, asked, tmp_path) is None
    run = OnnxRun(tmp_path)
    expected = served(trained, config).answer(examples, ALL)
    for one, other in zip(CODEC.predict(run, batches[0], ALL, trained.state), expected, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-5)


def test_an_item_is_a_text_or_an_object_with_one(four: tuple) -> None:
    predictor = served(*four)
    plain, wrapped = (CARD.parse_item(item) for item in ("Awesome!", {"text": "Awesome!"}))
    first, second = ask(predictor, [plain, wrapped])
    assert first == second
    for wrong in ("", {"text": ""}, {"text": "a", "lang": "en"}, 3, None):
        with pytest.raises(ValueError, match="validation error"):
            CARD.parse_item(wrong)


def test_only_the_best_labels_are_told_when_asked(four: tuple) -> None:
    (output,) = ask(served(*four), ["Awesome performance!"], LabelParams(top_k=1))
    assert output.scores == {output.label: output.score}


def test_the_vocabulary_is_counted_from_the_rows_given_and_rare_words_may_be_left_out() -> None:
    rows = [Row(text="good good film", label="p"), Row(text="bad film", label="n")]
    state = CODEC.learn(rows, SentimentConfig(min_count=2))
    assert state.vocabulary == ["film", "good"]
    assert CODEC.learn(rows, SentimentConfig(max_words=1)).vocabulary == ["film"]
    assert (state.labels, state.counts) == (["n", "p"], [1, 1])
    example = CODEC.example("film unseen", ALL, state, SentimentConfig())
    assert example.arrays["words"].tolist() == [SPECIAL, UNKNOWN]
    assert example.arrays["subwords"][1].any()


def test_a_long_text_is_cut(four: tuple) -> None:
    state = four[0].state
    assert CODEC.example("good " * 50, ALL, state, SentimentConfig(max_tokens=7)).length == 7


def test_a_label_never_learnt_counts_as_a_mistake_and_not_in_the_loss() -> None:
    parts = {"train": FOUR, "validation": [*FOUR, Row(text="So so.", label="neutral")]}
    trained = train(CODEC, NETWORK, parts, SentimentConfig(epochs=1))
    assert trained.state.labels == ["negative", "positive"]
    assert trained.metrics["validation_accuracy"] <= 0.8
    assert np.isfinite(trained.metrics["validation_loss"])


def test_given_vectors_are_taken_up_and_learn_more_slowly() -> None:
    vectors = WordVectors({"great": 0, "hated": 1}, np.array([[1, 2, 3], [-1, 0, 1]], dtype=np.float16))
    config = SentimentConfig(vectors="given", hidden=4)
    state = CODEC.learn(FOUR, config, vectors)
    assert state.vector_width == 3
    net = NETWORK.build(state, config)
    NETWORK.initialise(net, state, config, vectors)
    great, hated = (net.words.weight[state.spellings.read([word])[0][0]].detach() for word in ("great", "hated"))
    assert torch.allclose(great / great.norm(), torch.tensor([1.0, 2, 3]) / 14**0.5, atol=1e-4)
    assert torch.allclose(hated[1], torch.tensor(0.0), atol=1e-4)
    groups = NETWORK.parameter_groups(net, config)
    assert sum(len(group["params"]) for group in groups) == len(list(net.parameters()))
    assert min(group.get("lr_scale", 1.0) for group in groups) < 1
    rebuilt = NETWORK.build(State.model_validate(json.loads(state.model_dump_json())), config)
    rebuilt.load_state_dict(net.state_dict())


def test_a_state_keeps_its_spellings_out_of_its_file(four: tuple) -> None:
    state = four[0].state
    assert state.spellings.read(state.vocabulary[:1])[0].tolist() == [SPECIAL]
    assert "spellings" not in state.model_dump()
    assert State.model_validate_json(state.model_dump_json()) == state


def test_the_tally_counts_characters() -> None:
    tally = TextTally()
    for line, label in enumerate("aabb", start=1):
        tally.add(Row(text="abcd" * line, label=label), line=line, part=None)
    assert tally.stats() == {"labels": {"a": 2, "b": 2}, "mean_characters": 10.0, "longest_characters": 16}
    assert tally.faults() == tally.warnings() == []


def test_artifacts_of_the_first_version_stay_readable() -> None:
    written = '{"labels":["n","p"],"counts":[1,2],"vocabulary":["film"],"vector_width":null,"temperature":1.5}'
    state = State.model_validate_json(written)
    assert (state.temperature, len(state.vocabulary)) == (1.5, 1)
    net = NETWORK.build(state, SentimentConfig(hidden=4, embedding=3))
    cell = [
        f"encoder.layers.0.{kind}_l0{way}"
        for way in ("", "_reverse")
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
    assert list(net.state_dict()) == ["words.weight", "subwords.weight", *cell, "output.weight", "output.bias"]
