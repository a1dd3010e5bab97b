"""An encoder, attention and a decoder of the same cell. Knows ids, never what they stand for.

B batch, T source steps (padded), Q target steps or beams, V ids, E width of an embedding, S width of the decoder's
state, H units of the decoder, M units of the encoder's memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.nets.attention import Attention
from models.nets.recurrent import Encoder


class EncoderDecoder(nn.Module):
    """Sequence to sequence (Sutskever et al. 2014) with the global attention of Luong et al. 2015.

    The decoder's state reads the target alone and its attention is not fed back to it, so that in training a
    whole target is read at once; what the attention found joins the state in h~ (Luong's eq. 5). The output layer
    is the target's embedding (Press and Wolf 2017). The decoder reads the encoder's last state as its first input,
    which starts any cell.
    """

    def __init__(
        self,
        vocabularies: Sequence[int],
        embedding: int,
        widths: Sequence[int],
        *,
        cell: str,
        bidirectional: bool,
        dropout: float,
        word_dropout: float,
        label_smoothing: float,
    ) -> None:
        """`vocabularies`: the ids of source and target, or of both together where they share their embeddings."""
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(size, embedding) for size in vocabularies)
        for table in self.embeddings:
            nn.init.normal_(table.weight, std=embedding**-0.5)
        self.encoder = Encoder(embedding, widths, cell=cell, bidirectional=bidirectional, dropout=dropout)
        self.start = nn.Linear(self.encoder.size, embedding)
        self.decoder = Encoder(embedding, widths, cell=cell, dropout=dropout)
        self.attention = Attention(self.decoder.size, self.encoder.size)
        self.joined = nn.Linear(self.decoder.size + self.encoder.size, embedding)
        self.bias = nn.Parameter(torch.zeros(vocabularies[-1]))
        self.dropout = nn.Dropout(dropout)
        self.word_dropout, self.label_smoothing = word_dropout, label_smoothing

    def embedded(self, table: nn.Module, ids: Tensor) -> Tensor:
        """ids (B, T) -> vectors (B, T, E), some of them hidden as a whole while learning."""
        vectors = self.dropout(table(ids))
        if self.training and self.word_dropout:
            seen = torch.rand(ids.shape, device=ids.device) >= self.word_dropout
            vectors = vectors * seen[:, :, None]
        return vectors

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """source (B, T), lengths (B,) -> memory (B, T, M), keys (B, T, H), the decoder's first state (B, S)."""
        memory, last = self.encoder(self.embedded(self.embeddings[0], source), lengths)
        nothing = last.new_zeros(1, self.decoder.state_size).expand(last.shape[0], -1)
        _, state = self.decoder.advance(torch.tanh(self.start(last))[:, None], nothing)
        return memory, self.attention.keys(memory), state

    def decode(self, target: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """target (B, Q), what was said before each step, state (B, S) -> steps (B, Q, H), state (B, S)."""
        return self.decoder.advance(self.embedded(self.embeddings[-1], target), state)

    def attend(self, steps: Tensor, keys: Tensor, memory: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """steps (B, Q, H) -> h~ (B, Q, E), which `logits` reads, and the attention's weights (B, Q, T)."""
        contexts, weights = self.attention(steps, keys, memory, real)
        return self.dropout(torch.tanh(self.joined(torch.cat([contexts, steps], dim=2)))), weights

    def logits(self, said: Tensor) -> Tensor:
        """h~ (..., E) -> (..., V)."""
        return functional.linear(said, self.embeddings[-1].weight, self.bias)


def real(lengths: Tensor, steps: int) -> Tensor:
    """lengths (B,) -> (B, T): which of the positions are no padding."""
    return torch.arange(steps, device=lengths.device) < lengths[:, None]


class Encode(nn.Module):
    """What is computed once for a source."""

    def __init__(self, net: EncoderDecoder) -> None:
        super().__init__()
        self.net = net

    def forward(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """source (B, T), lengths (B,) -> memory (B, T, M), keys (B, T, H), state (B, 1, S) of one beam."""
        memory, keys, state = self.net.encode(source, lengths)
        return memory, keys, state[:, None]


class Step(nn.Module):
    """One step of every beam of every item."""

    def __init__(self, net: EncoderDecoder) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, tokens: Tensor, state: Tensor, memory: Tensor, keys: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """tokens (B, K), state (B, K, S), memory (B, T, M), keys (B, T, H), lengths (B,)
        -> log-probabilities (B, K, V), state (B, K, S), weights (B, K, T)."""
        steps, after = self.net.decode(tokens.reshape(-1, 1), state.flatten(0, 1))
        steps, after = (array.reshape(*tokens.shape, array.shape[-1]) for array in (steps, after))
        said, weights = self.net.attend(steps, keys, memory, real(lengths, memory.shape[1]))
        return self.net.logits(said).float().log_softmax(2), after, weights
