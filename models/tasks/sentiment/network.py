"""The network that reads a text: word and subword vectors, a recurrent encoder, pooling, labels.

B texts, T tokens (padded), K subwords, E width of a vector, H units, C labels.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from models.families.classify.network import LabelNetwork
from models.nets.pooling import Pooling
from models.nets.recurrent import Encoder
from models.nets.words import forgotten, give
from models.task import Vectors
from models.tasks.sentiment.schema import BUCKETS, SUBWORDS, SentimentConfig, State
from models.vocab import PADDING, SPECIAL


class Reader(nn.Module):
    """Logits of a text: the greatest and the mean of what the encoder says at each token."""

    def __init__(self, vocabulary: int, labels: int, width: int, config: SentimentConfig) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width, padding_idx=PADDING)
        self.subwords = nn.Embedding(BUCKETS + 1, width, padding_idx=PADDING)
        nn.init.normal_(self.words.weight, std=0.1)
        nn.init.normal_(self.subwords.weight, std=0.05)
        self.encoder = Encoder.of(config, width)
        self.dropout = nn.Dropout(config.dropout)
        self.word_dropout = config.word_dropout
        self.pooling = Pooling("mean_max", self.encoder.size)
        self.output = nn.Linear(self.pooling.size, labels)

    def forward(self, words: Tensor, subwords: Tensor, lengths: Tensor) -> Tensor:
        """words (B, T), subwords (B, T, K), lengths (B,) -> logits (B, C)."""
        if self.training and self.word_dropout:
            (words,) = forgotten(self.word_dropout, words)
        pieces = (subwords > PADDING).sum(-1, keepdim=True).clamp(min=1)
        x = self.words(words) + self.subwords(subwords).sum(2) / pieces
        steps, last = self.encoder(self.dropout(x), lengths)
        return self.output(self.dropout(self.pooling(steps, last, lengths)))


class SentimentNetwork(LabelNetwork[State, SentimentConfig]):
    """Word vectors may be given; they are then fine-tuned more slowly than the rest learns."""

    def build(self, state: State, config: SentimentConfig) -> nn.Module:
        width = state.vector_width or config.embedding
        return Reader(len(state.vocabulary) + SPECIAL, len(state.labels), width, config)

    def initialise(self, net: nn.Module, state: State, config: SentimentConfig, vectors: Vectors | None) -> None:
        super().initialise(net, state, config, vectors)
        if vectors is not None:
            give(net.words.weight.data, dict(enumerate(state.vocabulary, start=SPECIAL)), vectors)
            nn.init.normal_(net.subwords.weight, std=0.01)  # faint, so as not to blur what is given

    def names(self, state: State) -> Mapping[str, tuple[Sequence[Hashable], ...]]:
        return {**super().names(state), "words.weight": ((*range(SPECIAL), *state.vocabulary),)}

    def parameter_groups(self, net: nn.Module, config: SentimentConfig) -> list[dict[str, Any]]:
        dear = [net.words.weight, net.subwords.weight] if config.vectors else []
        others = [parameter for parameter in net.parameters() if all(parameter is not d for d in dear)]
        slow = [{"params": dear, "lr_scale": 0.3, "weight_decay": 0.0}] if dear else []
        return [{"params": others}, *slow]

    def inputs(self, net: nn.Module) -> dict[str, tuple[str | int, ...]]:
        return {"words": ("B", "T"), "subwords": ("B", "T", SUBWORDS), "lengths": ("B",)}


NETWORK = SentimentNetwork()
