"""Tokens of any text, and ids that say something of words never seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.vocab import PADDING, PLAIN, SPECIAL, TOKEN, UNKNOWN, Spellings, Vocabulary, counted, subwords, words


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("I Loved it!", ["i", "loved", "it", "!"]),
        ("don't can't we've it's", ["do", "n't", "ca", "n't", "we", "'ve", "it", "'s"]),
        ("I don’t", ["i", "do", "n't"]),
        ("a well-made film, 1,000.5 of 10", ["a", "well-made", "film", ",", "1,000.5", "of", "10"]),
        ("good😀😡", ["good", "😀", "😡"]),
        ("Été à l'ÉCOLE", ["été", "à", "l", "'", "école"]),
        ("snake_case", ["snake", "_", "case"]),
        (" \t\n", []),
        ("", []),
    ],
)
def test_the_tokens_of_a_text(text: str, tokens: list[str]) -> None:
    assert words(text) == tokens


@given(st.text(max_size=200))
def test_no_sign_of_any_text_is_lost(text: str) -> None:
    kept = "".join(words(text))
    assert kept == "".join(text.lower().replace("’", "'").split())


@given(st.text(st.characters(codec="ascii"), max_size=200))
def test_the_pattern_for_ascii_finds_what_the_other_finds(text: str) -> None:
    assert PLAIN.findall(text.lower()) == TOKEN.findall(text.lower())


def test_a_vocabulary_is_ranked_by_count_then_alphabet_and_cut() -> None:
    texts = [["b", "a", "c"], ["b", "a"], ["b"]]
    assert counted(texts, least=1, most=9) == ["b", "a", "c"]
    assert counted(texts, least=2, most=9) == ["b", "a"]
    assert counted(texts, least=1, most=1) == ["b"]
    assert counted([["y", "x"]], least=1, most=9) == ["x", "y"]


def test_ids_begin_after_the_special_ones_and_unknown_words_share_one() -> None:
    vocabulary = Vocabulary(["film", "good"])
    assert vocabulary.ids(["good", "film", "nowhere"]) == [SPECIAL + 1, SPECIAL, UNKNOWN]
    assert len(vocabulary) == SPECIAL + 2


@given(st.text(max_size=60), st.integers(1, 1000), st.integers(1, 20))
def test_subwords_lie_in_their_buckets_and_are_never_padding(token: str, buckets: int, most: int) -> None:
    found = subwords(token, buckets, most)
    assert 1 <= len(found) <= most
    assert all(PADDING < bucket <= buckets for bucket in found)
    assert found == subwords(token, buckets, most)


def test_related_words_share_subwords_and_unrelated_ones_do_not() -> None:
    loved, lovely, table = (set(subwords(word, 1_000_000, 16)) for word in ("loved", "lovely", "table"))
    assert len(loved & lovely) >= 3
    assert not loved & table


def test_a_spelling_is_the_words_id_and_its_subwords_padded() -> None:
    spellings = Spellings(["film", "good"], buckets=50, most=4)
    ids, pieces = spellings.read(["good", "a", "nowhere"])
    assert ids.tolist() == [SPECIAL + 1, UNKNOWN, UNKNOWN]
    assert pieces.shape == (3, 4)
    assert pieces[0].tolist() == list(subwords("good", 50, 4))
    assert pieces[1].tolist() == [*subwords("a", 50, 4), *[PADDING] * 3]
    assert [array.dtype for array in (ids, pieces)] == ["int32", "int32"]


def test_spellings_are_kept_within_a_bound_and_read_the_same_after_it() -> None:
    spellings = Spellings(["film"], buckets=50, most=4, kept=3)
    tokens = ["film", "b", "c", "d", "e" * 1000, "film"]
    first, again = spellings.read(tokens), spellings.read(tokens)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert len(spellings) <= 3
    assert "e" * 1000 not in spellings
