"""The network that reads a sequence: features as they are or vectors of tokens, then the family's reader.

B sequences, T steps (padded), F features, E width of a token's vector, C labels.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
from torch import Tensor, nn

from models.families.classify.network import LabelNetwork, SignalReader
from models.tasks.sequences.schema import SequenceConfig, State
from models.vocab import PADDING, SPECIAL, UNKNOWN


class TokenReader(SignalReader):
    """Logits of a sequence of tokens."""

    def __init__(self, vocabulary: int, labels: int, config: SequenceConfig) -> None:
        super().__init__(config.embedding, labels, config)
        self.embedding = nn.Embedding(vocabulary, config.embedding, padding_idx=PADDING)
        nn.init.normal_(self.embedding.weight, std=0.3)
        self.token_dropout = config.token_dropout

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """tokens (B, T), lengths (B,) -> logits (B, C)."""
        if self.training and self.token_dropout:
            lost = torch.rand(tokens.shape, device=tokens.device) < self.token_dropout
            tokens = tokens.masked_fill(lost & (tokens > PADDING), UNKNOWN)
        return self.judge(self.dropout(self.embedding(tokens)), lengths)


class SequenceNetwork(LabelNetwork[State, SequenceConfig]):
    """Values go to the reader as they are, tokens as vectors that are learnt."""

    def build(self, state: State, config: SequenceConfig) -> nn.Module:
        if state.scale is None:
            return TokenReader(len(state.vocabulary) + SPECIAL, len(state.labels), config)
        places = 0 if config.motion == "alone" else state.width
        return SignalReader(len(state.scale.mean), len(state.labels), config, places=places)

    def names(self, state: State) -> Mapping[str, tuple[Sequence[Hashable], ...]]:
        tokens = {} if state.scale else {"embedding.weight": ((*range(SPECIAL), *(state.vocabulary or ())),)}
        return {**super().names(state), **tokens}

    def inputs(self, net: nn.Module) -> dict[str, tuple[str | int, ...]]:
        if isinstance(net, TokenReader):
            return {"tokens": ("B", "T"), "lengths": ("B",)}
        return {"values": ("B", "T", net.features), "lengths": ("B",)}


NETWORK = SequenceNetwork()
