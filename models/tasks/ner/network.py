"""The network that tags entities: words, characters and shapes, a recurrent encoder, a conditional random field.

After Ma and Hovy 2016. B windows of texts, T tokens (padded), W characters of a token, E width of a token, C labels.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.batch import Batch
from models.families.tag.codec import UNTAUGHT
from models.families.tag.network import TagNetwork
from models.nets.crf import Crf, negative_log_likelihood
from models.nets.recurrent import Encoder
from models.nets.words import forgotten, give
from models.task import Vectors
from models.tasks.ner.codec import KINDS, WIDTH
from models.tasks.ner.schema import NerConfig, State
from models.vocab import PADDING, SPECIAL

CHARACTER = 30
"""Width of a character's vector."""
SHAPE = 12
"""Width of a shape's vector."""


class Spelling(nn.Module):
    """What the characters of a token say: the greatest of each filter over all places (Ma and Hovy 2016)."""

    def __init__(self, characters: int, filters: int, kernel: int) -> None:
        super().__init__()
        self.characters = nn.Embedding(characters, CHARACTER, padding_idx=PADDING)
        nn.init.uniform_(self.characters.weight, -0.3, 0.3)
        nn.init.zeros_(self.characters.weight.data[PADDING])
        self.filters = nn.Linear(kernel * CHARACTER, filters)
        self.kernel = kernel

    def forward(self, characters: Tensor) -> Tensor:
        """(B, T, W) -> (B, T, filters). Padding is as silent as what stands before the first character."""
        x = self.characters(characters)
        x = functional.pad(x, (0, 0, self.kernel // 2, self.kernel - 1 - self.kernel // 2))
        width = characters.shape[2]
        seen = torch.cat([x[:, :, i : i + width] for i in range(self.kernel)], dim=3)
        said = functional.relu(self.filters(seen)) * (characters > PADDING)[:, :, :, None]
        return said.amax(2)


class Tagger(nn.Module):
    """Scores of each label at each token, and of each label after another."""

    def __init__(self, rows: int, characters: int, width: int, labels: list[str], config: NerConfig) -> None:
        super().__init__()
        self.words = nn.Embedding(rows, width, padding_idx=PADDING)
        nn.init.normal_(self.words.weight, std=0.3)
        nn.init.zeros_(self.words.weight.data[PADDING])
        self.spelling = Spelling(characters, config.filters, config.kernel)
        self.shapes = nn.Embedding(KINDS, SHAPE, padding_idx=PADDING)
        self.encoder = Encoder.of(config, width + config.filters + SHAPE)
        self.dropout = nn.Dropout(config.dropout)
        self.word_dropout = config.word_dropout
        self.output = nn.Linear(self.encoder.size, len(labels))
        self.crf = Crf(*grammar(labels))

    def forward(self, words: Tensor, characters: Tensor, shapes: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """words, shapes (B, T), characters (B, T, W), lengths (B,) -> scores (B, T, C), transitions (B, C, C)."""
        if self.training and self.word_dropout:
            words = forgotten(words, self.word_dropout)
        x = torch.cat([self.words(words), self.spelling(characters), self.shapes(shapes)], dim=2)
        steps, _ = self.encoder(self.dropout(x), lengths)
        return self.crf(self.output(self.dropout(steps)), lengths)


def grammar(labels: list[str]) -> tuple[Tensor, Tensor]:
    """What BIO allows: I-x only after B-x or I-x. (C, C) bool from row to column, and (C,) bool of the first."""
    starts = torch.tensor([not label.startswith("I-") for label in labels])
    after = [[begins or one[1:] == other[1:] for other, begins in zip(labels, starts, strict=True)] for one in labels]
    return torch.tensor(after), starts


class NerNetwork(TagNetwork[State, NerConfig]):
    """Vectors of words may be given; they are then fine-tuned more slowly than the rest learns."""

    def build(self, state: State, config: NerConfig) -> nn.Module:
        rows = max(state.rows_of_words, default=SPECIAL) + 1
        width = state.vector_width or config.embedding
        return Tagger(rows, len(state.character_index), width, state.labels, config)

    def initialise(self, net: nn.Module, state: State, config: NerConfig, vectors: Vectors | None) -> None:
        super().initialise(net, state, config, vectors)
        if vectors is not None:
            first = {row: word for word, row in reversed(state.word_rows.items())}
            give(net.words, first, vectors)

    def names(self, state: State) -> Mapping[str, tuple[Sequence[Hashable], ...]]:
        first = {row: word for word, row in reversed(state.word_rows.items())}
        rows = max(state.rows_of_words, default=SPECIAL) + 1
        return {
            **super().names(state),
            "words.weight": ([first.get(row, row) for row in range(rows)],),
            "spelling.characters.weight": ((*range(SPECIAL), *state.characters),),
            "crf.transitions": (state.labels, state.labels),
            "crf.starts": (state.labels,),
            "crf.ends": (state.labels,),
        }

    def parameter_groups(self, net: nn.Module, config: NerConfig) -> list[dict[str, Any]]:
        others = [parameter for parameter in net.parameters() if parameter is not net.words.weight]
        words = {"params": [net.words.weight], "lr_scale": 0.3 if config.vectors else 1.0, "weight_decay": 0.0}
        return [{"params": others}, words]

    def loss(self, net: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        """How unlikely the true paths are; those with a label that no training row has are left out."""
        labels, lengths = batch.arrays["labels"], batch.arrays["lengths"]
        scores, transitions = net(*self.asked(net, batch))
        each = negative_log_likelihood(scores.float(), transitions.float(), labels, lengths)
        within = torch.arange(labels.shape[1], device=labels.device) < lengths[:, None]
        taught = ~((labels == UNTAUGHT) & within).any(1)
        return (each * taught).sum(), int((lengths * taught).sum())

    def inputs(self, net: nn.Module) -> dict[str, tuple[str | int, ...]]:
        return {"words": ("B", "T"), "characters": ("B", "T", WIDTH), "shapes": ("B", "T"), "lengths": ("B",)}

    def outputs(self, net: nn.Module) -> dict[str, tuple[str | int, ...]]:
        labels = net.output.out_features
        return {**super().outputs(net), "transitions": ("B", labels, labels)}


NETWORK = NerNetwork()
