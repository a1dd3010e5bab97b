"""Subwords: the library's own pieces, nothing lost on the way, and strange texts."""

from __future__ import annotations

import io

import pytest
import sentencepiece
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.subwords import END, FIRST, PADDING, SPACE, STRETCH, UNKNOWN, Subwords, learn, normal
from models.task import Fault

TEXTS = [
    "the cat sat on the mat and the cat sat still",
    "that cat is the cat that sat there",
    "吾輩は猫である。名前はまだ無い。",
    "Ünïcode ought to be thought through, thoroughly",
    "three thousand and thirty-three thistles",
]
LEARNT = learn(TEXTS, most=200)


def ids(subwords: Subwords, text: str) -> list[int]:
    return [identity for identity, _ in subwords.split(text)]


def test_texts_are_cut_as_sentencepiece_cuts_them() -> None:
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=written, model_type="bpe", vocab_size=90, hard_vocab_limit=False,
        character_coverage=1.0, normalization_rule_name="identity", bos_id=-1, eos_id=-1, num_threads=1, minloglevel=2,
    )  # fmt: skip
    model = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    ours = Subwords(pieces=[model.id_to_piece(i) for i in range(1, model.get_piece_size())])
    assert any(len(piece) > 3 for piece in ours.pieces), "nothing was joined"
    for text in [*TEXTS, "the thistle sat thereon", "猫は猫"]:
        assert [surface for _, surface in ours.split(text)] == model.encode(text, out_type=str)


def test_learning_twice_gives_the_same_and_as_many_as_asked() -> None:
    many = [f"{text} {index}" for index in range(60) for text in TEXTS]
    assert learn(many, most=120) == learn(many, most=120)
    assert len(learn(many, most=120).pieces) <= 120
    assert len(learn(many, most=120).pieces) < len(learn(many, most=300).pieces)
    state = Subwords.model_validate_json(LEARNT.model_dump_json())
    assert state.split(TEXTS[0]) == LEARNT.split(TEXTS[0])


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=60))
@example("0 \x1b\x850")
@example("a\tb\x00c\x1cd")
def test_no_character_is_lost(text: str) -> None:
    pieces = LEARNT.split(text)
    unknown = [surface for identity, surface in pieces if identity == UNKNOWN]
    found = LEARNT.join([identity for identity, _ in pieces], unknown)
    # what no piece holds may be read in its plain form: the text is then the same but for that
    assert len(found.split()) == len(normal(text).split())
    assert [LEARNT._known(c) for c in found] == [LEARNT._known(c) for c in normal(text)]


def test_case_is_kept_and_forgiven_where_it_was_never_seen() -> None:
    assert LEARNT.join(ids(LEARNT, "Ünïcode")) == "Ünïcode"
    assert LEARNT.join(ids(LEARNT, "CAT ｃａｔ")) == "cat cat"


def test_what_is_unknown_is_one_piece_with_its_space() -> None:
    assert [p for p in LEARNT.split("cat 😀😀 sat") if p[0] == UNKNOWN] == [(UNKNOWN, f"{SPACE}😀😀")]
    assert [p for p in LEARNT.split("c😀t") if p[0] == UNKNOWN] == [(UNKNOWN, "😀")]
    assert LEARNT.join([PADDING, UNKNOWN, END, UNKNOWN], ["x"]) == "x"


def test_only_composed_visible_text_is_read() -> None:
    assert normal(" a\t\nb\x00 \u00a0 c\u0301 ▁") == "a b ć _"
    assert LEARNT.split(" \t\x00\u2003") == []


@pytest.mark.parametrize("word", ["天地人" * 20_000, "😀" * 50_000, "cat" * 20_000])
def test_a_word_of_any_length_is_cut(word: str) -> None:
    pieces = LEARNT.split(word)
    assert "".join(surface for _, surface in pieces) == SPACE + word
    assert max(len(s) for i, s in pieces if i != UNKNOWN) <= STRETCH if any(i != UNKNOWN for i, _ in pieces) else True


def test_many_characters_leave_the_rarest_unknown() -> None:
    common = "".join(chr(0x4E00 + i) for i in range(40))
    rare = chr(0x9000)
    found = learn([common] * 100 + [rare], most=60)
    assert ids(found, common[:3]) != [UNKNOWN]
    assert ids(found, rare) == [UNKNOWN]
    crowd = learn(["".join(chr(0x4E00 + i) for i in range(5000))], most=16)  # all as rare as each other
    assert len(crowd) - FIRST >= 0.97 * 5000


@pytest.mark.parametrize("texts", [[], ["", "  ", "\x00"]])
def test_nothing_teaches_nothing(texts: list[str]) -> None:
    with pytest.raises(Fault, match="no visible character"):
        learn(texts, most=100)


@pytest.mark.parametrize("text", ["a", "a b", "😀", "▁", "x\ty", "a" * 20_000])
def test_little_is_enough_to_learn_from(text: str) -> None:
    found = learn([text], most=50)
    assert UNKNOWN not in ids(found, text)
