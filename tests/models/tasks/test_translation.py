"""Translation: what is learnt, copied, refused and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import models.tasks
from models import catalog
from models.nets.recurrent import CELLS
from models.predictor import Predictor
from models.runtimes.torch_run import TorchRun
from models.subwords import END, UNKNOWN
from models.task import Fault
from models.tasks.translation.codec import CODEC, SPARE, STRANGE, _apart, _spaced, _with_unknown
from models.tasks.translation.network import NETWORK
from models.tasks.translation.schema import (
    CARD,
    PairTally,
    Row,
    State,
    TranslationConfig,
    TranslationOutput,
    TranslationParams,
    pairs,
)
from models.trainer import Trained, train

PHRASES = [Row(source="hello world", target="hola mundo"), Row(source="how are you", target="como estas tu")]
SMALL = TranslationConfig(hidden=32, embedding=32, epochs=60, patience=60, lr=0.01)
SAMPLE = Path(models.tasks.__path__[0]) / "translation" / "sample.jsonl"


@pytest.fixture(scope="module")
def learnt() -> Trained:
    return train(CODEC, NETWORK, {"train": PHRASES, "validation": PHRASES}, SMALL)


@pytest.fixture(scope="module")
def predictor(learnt: Trained) -> Predictor:
    return Predictor(CODEC, learnt.state, SMALL, TorchRun(learnt.net, NETWORK))


def translated(predictor: Predictor, *items: Any, **asked: Any) -> list[TranslationOutput]:
    params = CARD.params(**asked)
    return predictor.answer([predictor.prepare(CARD.parse_item(item), params) for item in items], params)


def test_two_phrases_are_learnt(predictor: Predictor, learnt: Trained) -> None:
    found = translated(predictor, "hello world", {"text": "how are you"})
    assert [output.translation for output in found] == ["hola mundo", "como estas tu"]
    assert learnt.metrics["bleu"] == pytest.approx(100)
    assert learnt.metrics["chrf"] == pytest.approx(100)
    assert all(output.score <= 0 and output.alternatives == [] for output in found)


def test_alternatives_are_distinct_and_worse(predictor: Predictor) -> None:
    for beam in (1, 4):
        (output,) = translated(predictor, "hello world", beam=beam, alternatives=3)
        texts = [output.translation, *(other.translation for other in output.alternatives)]
        assert len(set(texts)) == len(texts) == 4
        scores = [output.score, *(other.score for other in output.alternatives)]
        assert scores == sorted(scores, reverse=True)


def test_a_translation_keeps_to_its_length(predictor: Predictor) -> None:
    (short,) = translated(predictor, "how are you", max_length=3)
    pieces = predictor.state.written.split(short.translation)
    assert 1 <= len(pieces) <= 3
    for times in (1, 15):
        (output,) = translated(predictor, "how are you " * times)
        pieces = len(predictor.state.source.split("how are you " * times))
        assert len(predictor.state.written.split(output.translation)) <= predictor.state.stretch * pieces + SPARE + 1


@pytest.mark.parametrize(
    "text", ["hello world 😀", "東京 how are you", "Ωmega", "😀", "привет", "\u200d", "h\x00elloé"]
)
def test_what_is_unknown_comes_out_as_it_came_in(predictor: Predictor, text: str) -> None:
    (output,) = translated(predictor, text)
    strange = [character for character in text if ord(character) > 0x2FF]
    assert [c for c in output.translation if c in strange] == strange


def test_unknown_words_keep_their_spaces_where_the_target_has_any(predictor: Predictor) -> None:
    assert translated(predictor, "how are you 😀")[0].translation.split()[-1] == "😀"
    without = State(**{**predictor.state.model_dump(), "spaced": False})
    other = Predictor(CODEC, without, SMALL, predictor.run)
    alone = translated(other, "how are you 😀")[0].translation
    assert alone.endswith("😀")
    assert "😀" not in alone.split()


@pytest.mark.parametrize("item", [" ", "\t\n", "\x00\x01", {"text": "\u2003"}])
def test_a_text_without_a_character_is_refused(predictor: Predictor, item: Any) -> None:
    with pytest.raises(Fault, match="no visible character") as refused:
        translated(predictor, item)
    assert refused.value.at == (("text",) if isinstance(item, dict) else ())


def test_a_text_that_is_too_long_is_refused_with_its_length(predictor: Predictor) -> None:
    with pytest.raises(Fault, match=r"the text has 300 subwords, and this model reads 256 at most"):
        translated(predictor, "q z " * 150)
    with pytest.raises(Fault, match="subwords"):
        translated(predictor, "a" * 100_000)


@pytest.mark.parametrize("asked", [{"beam": 0}, {"beam": 33}, {"max_length": 0}, {"alternatives": -1}, {"best": 1}])
def test_odd_options_are_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TranslationParams(**asked)


@pytest.mark.parametrize(
    "row",
    [{"source": "a"}, {"source": "", "target": "b"}, {"source": " \t", "target": "b"}, {"source": 1, "target": "b"},
     {"source": "a", "target": "b", "label": "c"}, {"source": "a", "target": "b" * 100_001},
     {"source": "a", "target": "b", "split": "dev"}],
)  # fmt: skip
def test_odd_rows_are_refused(row: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Row.model_validate(row)


def test_long_pairs_teach_nothing_and_are_judged_cut() -> None:
    config = TranslationConfig(max_pieces=8)
    state = CODEC.learn(PHRASES, config)
    long = Row(source="hello " * 30, target="hola")
    assert list(CODEC.examples(long, state, config, "train")) == []
    (judged,) = CODEC.examples(long, state, config, "test")
    assert (judged.length, judged.answer) == (8, "hola")


def test_sides_have_their_own_subwords_or_share_them() -> None:
    own = CODEC.learn(PHRASES, TranslationConfig())
    assert own.target is not None
    assert set("wy") <= own.source._alphabet - own.target._alphabet
    joint = CODEC.learn(PHRASES, TranslationConfig(joint=True))
    assert joint.target is None
    assert joint.written is joint.source
    assert State.model_validate_json(joint.model_dump_json()) == joint
    assert len(NETWORK.build(joint, SMALL).embeddings) == 1


def test_some_pairs_are_learnt_again_with_an_unknown_word() -> None:
    rows = [Row(source=f"a {chr(97 + i % 26)} {i}", target=f"b {i}") for i in range(400)]
    state = CODEC.learn(rows, TranslationConfig())

    def marked(share: float, seed: int = 0) -> list[bool]:
        config = TranslationConfig(copies=share, seed=seed)
        return [len(list(CODEC.examples(row, state, config, "train"))) == 2 for row in rows]

    assert sum(marked(0.0)) == 0
    assert sum(marked(1.0)) == 400
    assert 60 < sum(marked(0.25)) < 140
    assert marked(0.25) == marked(0.25) != marked(0.25, seed=1)
    _, again = CODEC.examples(rows[0], state, TranslationConfig(copies=1.0), "train")
    assert UNKNOWN in again.arrays["source"]
    assert again.arrays["target"].tolist()[-1] == END
    assert UNKNOWN in again.arrays["target"]
    assert len(list(CODEC.examples(rows[0], state, TranslationConfig(copies=1.0), "validation"))) == 1


def test_the_unknown_word_stands_where_both_sides_share_one() -> None:
    assert _with_unknown("I saw Thomas in 1984 .", "J'ai vu Thomas en 1984 .") == (
        f"I saw {STRANGE} in 1984 .",
        f"J'ai vu {STRANGE} en 1984 .",
    )
    assert _with_unknown("a cat", "un chat") == (f"a cat {STRANGE}", f"un chat {STRANGE}")
    assert _with_unknown("a cat", "猫") == (f"a cat {STRANGE}", f"猫{STRANGE}")


def test_a_model_of_tokenised_texts_reads_untokenised_ones() -> None:
    apart = _apart(["i don 't know , do you ?", "it 's 3.5 , well-known ."] * 10)
    assert apart == "',.?"
    assert _spaced("I don't know, do you?", apart) == "I don 't know , do you ?"
    assert _spaced("it costs 3.5. Well-known!", apart) == "it costs 3.5 . Well-known!"
    assert _spaced("i don 't know .", apart) == "i don 't know ."
    assert _apart(["I don't know, do you?", "It's 3.5."] * 10) == ""
    assert _spaced("I don't.", "") == "I don't."


def tabled(*rows: list[str]) -> list[tuple[int, dict[str, str]]]:
    lines = [(n, {str(place): cell for place, cell in enumerate(row, start=1)}) for n, row in enumerate(rows, start=1)]
    return [(n, dict(record)) for n, record in pairs(iter(lines))]


def test_tables_have_a_header_or_none() -> None:
    expected = [(1, {"source": "Go.", "target": "Va !"}), (2, {"source": "Hi.", "target": "Salut."})]
    assert tabled(["Go.", "Va !"], ["Hi.", "Salut."]) == expected
    assert tabled(["Go.", "Va !", "CC-BY #1"], ["Hi.", "Salut.", "CC-BY #2"]) == expected
    assert tabled(["en", "pt-BR"], ["Hi.", "Oi."]) == [(2, {"source": "Hi.", "target": "Oi."})]
    named = tabled(["target", "source", "split"], ["Salut.", "Hi.", "test"])
    assert named == [(2, {"target": "Salut.", "source": "Hi.", "split": "test"})]
    assert tabled(["a", "b", "c", "d"], ["1", "2", "3", "4"])[0][1] == {"a": "1", "b": "2", "c": "3", "d": "4"}
    same = tabled(["Hello", "Hello"], ["Hi.", "Hi."])
    assert same == [(1, {"source": "Hello", "target": "Hello"}), (2, {"source": "Hi.", "target": "Hi."})]
    frame = [(1, {"en": "Hi.", "fr": "Salut."})]
    assert list(pairs(iter(frame))) == [(1, {"source": "Hi.", "target": "Salut."})]
    assert list(pairs(iter([]))) == []


def tallied(*rows: Row) -> PairTally:
    tally = PairTally()
    for line, row in enumerate(rows, start=1):
        tally.add(row, line=line, part=row.split)
    return tally


def test_the_tally_counts_and_warns() -> None:
    good = tallied(*PHRASES)
    assert good.stats() == {
        "mean_characters": {"source": 11.0, "target": 11.5},
        "longest_characters": {"source": 11, "target": 13},
        "same_on_both_sides": 0,
    }
    assert good.faults() == good.warnings() == []
    odd = tallied(Row(source="same", target="same"), Row(source="a" * 60, target="b"))
    assert len(odd.warnings()) == 2
    assert "1 of 2 rows have the same text" in odd.warnings()[0]
    untaught = tallied(Row(source="a", target="b", split="test"))
    assert "holds no row" in untaught.faults()[0][1]


@pytest.mark.parametrize(
    "changed",
    [{"hidden": 9}, {"layers": 2}, {"bidirectional": False}, {"dropout": 0.0}, {"embedding": 9}, {"subwords": 16},
     {"joint": True}, {"label_smoothing": 0.0}, {"word_dropout": 0.9}, {"copies": 1.0}, {"max_pieces": 16},
     {"batch_steps": 1}, {"lr": 0.1}, *({"cell": cell} for cell in CELLS if cell != "lstm")],
    ids=str,
)  # fmt: skip
def test_every_option_changes_what_is_learnt(changed: dict[str, Any]) -> None:
    rows = [Row.model_validate_json(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()[18:34]]
    base = {"hidden": 8, "embedding": 8, "epochs": 1, "copies": 0.0}

    def weights(config: dict[str, Any]) -> list[torch.Tensor]:
        found = train(CODEC, NETWORK, {"train": rows, "validation": rows[:2]}, TranslationConfig(**config))
        assert np.isfinite(found.metrics["loss"])
        return list(found.net.state_dict().values())

    one, other = weights(base), weights({**base, **changed})
    same = len(one) == len(other) and all(
        a.shape == b.shape and torch.equal(a, b) for a, b in zip(one, other, strict=True)
    )
    assert not same


def test_every_option_is_explained_and_bounded() -> None:
    fields = TranslationConfig.model_json_schema()["properties"]
    assert all(field.get("description") for field in fields.values())
    for name in ("embedding", "subwords", "max_pieces", "label_smoothing", "word_dropout", "copies"):
        bounds = (
            {"minimum", "exclusiveMinimum"} & fields[name].keys(),
            {"maximum", "exclusiveMaximum"} & fields[name].keys(),
        )
        assert all(bounds), name


def test_the_card_gives_its_schemas() -> None:
    assert json.dumps(catalog.card("translation").params.model_json_schema())
    assert CARD.scoring == TranslationParams(beam=1)


def test_pairs_too_long_to_teach_are_told() -> None:
    long = Row(source="a b c d e f", target="g")
    config = TranslationConfig(max_pieces=4)
    state = CODEC.learn([*PHRASES, long], config)
    (told,) = CODEC.remarks({"train": [long]}, state, config)
    assert told.startswith("1 of 1 training pairs are longer than `max_pieces` = 4 subwords and teach nothing")
    assert CODEC.remarks({"train": [*PHRASES, long]}, state, TranslationConfig()) == []
