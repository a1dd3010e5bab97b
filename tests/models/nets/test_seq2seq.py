"""The encoder-decoder: the equations of its attention, and steps that equal the whole target read at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.nets.attention import Attention
from models.nets.recurrent import CELLS
from models.nets.seq2seq import Encode, EncoderDecoder, Step, real


def net(cell: str = "lstm", *, sizes: tuple[int, ...] = (11, 13), dropout: float = 0.0) -> EncoderDecoder:
    torch.manual_seed(0)
    return EncoderDecoder(
        sizes, 6, [5, 4], cell=cell, bidirectional=True, dropout=dropout, word_dropout=dropout, label_smoothing=0.1
    )


def test_attention_is_luongs_general_score() -> None:
    torch.manual_seed(1)
    attention = Attention(4, 6)
    queries, memory, lengths = torch.randn(2, 3, 4), torch.randn(2, 5, 6), torch.tensor([5, 2])
    contexts, weights = attention(queries, attention.keys(memory), memory, real(lengths, 5))
    w = attention.general.weight.detach().numpy()
    for b, length in enumerate(lengths.tolist()):
        for q in range(3):
            scores = np.array([queries[b, q].numpy() @ w @ memory[b, t].numpy() for t in range(length)])
            expected = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
            np.testing.assert_allclose(weights[b, q, :length].detach(), expected, atol=1e-6)
            assert (weights[b, q, length:] == 0).all()
            np.testing.assert_allclose(contexts[b, q].detach(), expected @ memory[b, :length].numpy(), atol=1e-5)


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_step_by_step_is_the_target_read_at_once(cell: str) -> None:
    model = net(cell).eval()
    source, lengths = torch.randint(1, 11, (3, 7)), torch.tensor([7, 4, 1])
    target = torch.randint(1, 13, (3, 5))
    with torch.no_grad():
        memory, keys, state = model.encode(source, lengths)
        steps, _ = model.decode(target, state)
        said, weights = model.attend(steps, keys, memory, real(lengths, 7))
        whole = model.logits(said).log_softmax(2)
        memory, keys, state = Encode(model)(source, lengths)
        for q in range(5):
            spoken, state, attention = Step(model)(target[:, q : q + 1], state, memory, keys, lengths)
            torch.testing.assert_close(spoken[:, 0], whole[:, q], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(attention[:, 0], weights[:, q], atol=1e-5, rtol=1e-5)


def test_beams_of_an_item_do_not_disturb_each_other() -> None:
    model = net().eval()
    source, lengths = torch.randint(1, 11, (2, 6)), torch.tensor([6, 3])
    with torch.no_grad():
        memory, keys, state = Encode(model)(source, lengths)
        tokens = torch.tensor([[3, 4, 5], [6, 7, 8]])
        together, after, _ = Step(model)(tokens, state.expand(-1, 3, -1), memory, keys, lengths)
        for k in range(3):
            alone, one, _ = Step(model)(tokens[:, k : k + 1], state, memory, keys, lengths)
            torch.testing.assert_close(together[:, k], alone[:, 0])
            torch.testing.assert_close(after[:, k], one[:, 0])


def test_padding_of_the_source_changes_nothing() -> None:
    model = net().eval()
    source = torch.randint(1, 11, (1, 4))
    padded = torch.cat([source, torch.randint(1, 11, (1, 3))], dim=1)
    lengths = torch.tensor([4])
    with torch.no_grad():
        memory, keys, state = Encode(model)(source, lengths)
        wide = Encode(model)(padded, lengths)
        token = torch.tensor([[2]])
        short, _, _ = Step(model)(token, state, memory, keys, lengths)
        long, _, _ = Step(model)(token, wide[2], wide[0], wide[1], lengths)
    torch.testing.assert_close(state, wide[2])
    torch.testing.assert_close(short, long)


def test_one_vocabulary_is_one_table_and_two_are_two() -> None:
    assert len(net(sizes=(11,)).embeddings) == 1
    assert len(net().embeddings) == 2


def test_words_are_hidden_while_learning_alone() -> None:
    model = net(dropout=0.5)
    ids = torch.full((1, 400), 3)
    hidden = (model.embedded(model.embeddings[0], ids) == 0).all(2).float().mean()
    assert 0.4 < float(hidden) < 0.65
    assert (model.eval().embedded(model.embeddings[0], ids) != 0).all()
