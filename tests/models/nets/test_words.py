"""Word vectors: padding is never forgotten, and given vectors come in one spread to the rows of known words alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from models.nets.words import GIVEN, forgotten, give
from models.vectors import WordVectors
from models.vocab import PADDING, UNKNOWN


def test_a_share_of_the_words_is_forgotten_and_no_padding() -> None:
    torch.manual_seed(0)
    words = torch.full((100, 100), 7)
    words[:, 60:] = PADDING
    (found,) = forgotten(0.3, words)
    assert set(found[:, :60].unique().tolist()) == {UNKNOWN, 7}
    assert (found[:, :60] == UNKNOWN).float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert (found[:, 60:] == PADDING).all()


def test_known_words_are_given_their_vectors_in_one_spread() -> None:
    given = np.random.default_rng(0).normal(scale=40, size=(3, 50)).astype(np.float16)
    vectors = WordVectors({"in": 0, "Rome": 1, "far": 2}, given)
    table = nn.Embedding(6, 50)
    nn.init.constant_(table.weight, 9.0)
    give(table.weight.data, {2: "Rome", 3: "never", 5: "in"}, vectors)
    rows = table.weight.detach().numpy()
    assert (rows[[0, 1, 3, 4]] == 9).all()
    assert rows[[2, 5]].std() == pytest.approx(GIVEN, rel=1e-3)
    np.testing.assert_allclose(rows[5] / rows[2], given[0] / given[1], rtol=0.02)
    before = table.weight.clone()
    give(table.weight.data, {}, vectors)
    assert torch.equal(table.weight, before)
