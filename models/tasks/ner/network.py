"""The network that tags entities: words, characters and shapes, recurrent encoders, a conditional random field.

After Ma and Hovy 2016; several readers after Reimers and Gurevych 2017, who find seeds to differ by more than most
ideas do. B windows of texts, T tokens (padded), W characters of a token, E width of a token, C labels.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

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
from models.tasks.ner.codec import CASES, KINDS, WIDTH
from models.tasks.ner.schema import NerConfig, State
from models.vocab import PADDING, SPECIAL

CHARACTER = 30
"""Width of a character's vector."""
SHAPE = 12
"""Width of a shape's vector."""
CASE = 8
"""Width of the vector of the cases that a word is known in."""


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


class Reader(nn.Module):
    """One opinion of a text: scores of each label at each token, and of each label after another."""

    def __init__(self, state: State, config: NerConfig) -> None:
        super().__init__()
        self.words = nn.Embedding(len(state.word_index), config.embedding, padding_idx=PADDING)
        nn.init.normal_(self.words.weight, std=0.3)
        nn.init.zeros_(self.words.weight.data[PADDING])
        self.spelling = Spelling(len(state.character_index), config.filters, config.kernel)
        self.shapes = nn.Embedding(KINDS, SHAPE, padding_idx=PADDING)
        width = config.embedding + config.filters + SHAPE
        if state.vector_width is not None:
            self.cases = nn.Embedding(CASES, CASE, padding_idx=PADDING)
            width += CASE + state.vector_width
        self.encoder = Encoder.of(config, width)
        self.dropout = nn.Dropout(config.dropout)
        self.word_dropout = config.word_dropout
        self.output = nn.Linear(self.encoder.size, len(state.labels))
        self.crf = Crf(*grammar(state.labels))

    def forward(
        self, table: Tensor, words: Tensor, characters: Tensor, shapes: Tensor, lengths: Tensor, *given: Tensor
    ) -> tuple[Tensor, Tensor]:
        """table (R, W) of given vectors; words, shapes (B, T), characters (B, T, W), lengths (B,), and where vectors
        are given their rows and cases (B, T) -> scores (B, T, C), transitions (B, C, C)."""
        known = [words, *given]
        if self.training and self.word_dropout:
            known = forgotten(self.word_dropout, *known)
        said = [self.words(known[0]), self.spelling(characters), self.shapes(shapes)]
        if given:
            said += [functional.embedding(known[1], table), self.cases(known[2])]
        steps, _ = self.encoder(self.dropout(torch.cat(said, dim=2)), lengths)
        return self.crf(self.output(self.dropout(steps)), lengths)


class Tagger(nn.Module):
    """Readers that learn each for itself; the answer is the mean of their scores."""

    def __init__(self, state: State, config: NerConfig) -> None:
        super().__init__()
        given = torch.zeros(SPECIAL + max(state.given_rows, default=-1) + 1, state.vector_width or 0)
        self.register_buffer("given", given)
        """(R, W): vectors as they were given; they are read and never learnt."""
        self.readers = nn.ModuleList(Reader(state, config) for _ in range(state.readers))

    def opinions(self, *read: Tensor) -> list[tuple[Tensor, Tensor]]:
        """What each reader says."""
        return [reader(self.given, *read) for reader in self.readers]

    def forward(self, *read: Tensor) -> tuple[Tensor, Tensor]:
        """As `Reader.forward` from its second argument on."""
        scores, transitions = zip(*self.opinions(*read), strict=True)
        return torch.stack(scores).mean(0), torch.stack(transitions).mean(0)


def grammar(labels: list[str]) -> tuple[Tensor, Tensor]:
    """What BIO allows: I-x only after B-x or I-x. (C, C) bool from row to column, and (C,) bool of the first."""
    starts = torch.tensor([not label.startswith("I-") for label in labels])
    after = [[begins or one[1:] == other[1:] for other, begins in zip(labels, starts, strict=True)] for one in labels]
    return torch.tensor(after), starts


class NerNetwork(TagNetwork[State, NerConfig]):
    """Vectors of words may be given. They stay as they are: those of words that no training row has are of use only
    while they mean the same as those that have been learnt from."""

    def build(self, state: State, config: NerConfig) -> nn.Module:
        return Tagger(state, config)

    def initialise(self, net: nn.Module, state: State, config: NerConfig, vectors: Vectors | None) -> None:
        for reader in net.readers:
            super().initialise(reader, state, config, vectors)
        if vectors is not None:
            first = dict(zip(reversed(state.given_rows), reversed(state.given), strict=True))
            give(net.given, {SPECIAL + row: word for row, word in first.items()}, vectors)

    def names(self, state: State) -> Mapping[str, tuple[Sequence[Hashable], ...]]:
        named = {
            **super().names(state),
            "words.weight": ((*range(SPECIAL), *state.words),),
            "spelling.characters.weight": ((*range(SPECIAL), *state.characters),),
            "crf.transitions": (state.labels, state.labels),
            "crf.starts": (state.labels,),
            "crf.ends": (state.labels,),
        }
        return {f"readers.{i}.{name}": axes for i in range(state.readers) for name, axes in named.items()}

    def loss(self, net: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        """How unlikely the true paths are to each reader, on average; those with a label that no training row has
        are left out."""
        labels, lengths = batch.arrays["labels"], batch.arrays["lengths"]
        said = net.opinions(*self.asked(net, batch))
        each = torch.stack(
            [
                negative_log_likelihood(scores.float(), transitions.float(), labels, lengths)
                for scores, transitions in said
            ]
        ).mean(0)
        within = torch.arange(labels.shape[1], device=labels.device) < lengths[:, None]
        taught = ~((labels == UNTAUGHT) & within).any(1)
        return (each * taught).sum(), int((lengths * taught).sum())

    def inputs(self, net: nn.Module) -> dict[str, tuple[str | int, ...]]:
        steps = ("B", "T")
        read = {"words": steps, "characters": (*steps, WIDTH), "shapes": steps, "lengths": ("B",)}
        return {**read, "given": steps, "cases": steps} if net.given.shape[1] else read

    def outputs(self, net: nn.Module) -> dict[str, tuple[str | int, ...]]:
        labels = net.readers[0].output.out_features
        return {"scores": ("B", "T", labels), "transitions": ("B", labels, labels)}


NETWORK = NerNetwork()
