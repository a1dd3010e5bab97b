"""The network that translates: a recurrent encoder, attention, and a decoder of the same cell.

B sentences, K beams, T pieces of a source (padded), Q pieces of a target (padded), V pieces.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional

from models.batch import Batch
from models.nets.seq2seq import Encode, EncoderDecoder, Step, real
from models.subwords import END, FIRST, PADDING
from models.task import Function, Network
from models.tasks.translation.schema import State, TranslationConfig


class TranslationNetwork(Network[State, TranslationConfig]):
    """Cross entropy of each piece given the true ones before it (teacher forcing), smoothed while learning."""

    def build(self, state: State, config: TranslationConfig) -> nn.Module:
        sizes = [len(state.source)] if state.target is None else [len(state.source), len(state.target)]
        return EncoderDecoder(
            sizes,
            config.embedding,
            config.widths,
            cell=config.cell,
            bidirectional=config.bidirectional,
            dropout=config.dropout,
            word_dropout=config.word_dropout,
            label_smoothing=config.label_smoothing,
        )

    def names(self, state: State) -> Mapping[str, tuple[Sequence[Hashable], ...]]:
        sides = [state.source] if state.target is None else [state.source, state.target]
        pieces = [(*range(FIRST), *side.pieces) for side in sides]
        tables = {f"embeddings.{index}.weight": (each,) for index, each in enumerate(pieces)}
        return {**tables, "bias": (pieces[-1],)}

    def loss(self, net: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        source, target, lengths = (batch.arrays[name] for name in ("source", "target", "lengths"))
        memory, keys, state = net.encode(source, lengths)
        opened = functional.pad(target[:, :-1], (1, 0), value=END)
        steps, _ = net.decode(opened, state)
        said, _ = net.attend(steps, keys, memory, real(lengths, source.shape[1]))
        true = target != PADDING
        smoothing = net.label_smoothing if net.training else 0.0
        # logits of padding are never computed: they are the dearest part
        logits = net.logits(said[true]).float()
        total = functional.cross_entropy(logits, target[true], reduction="sum", label_smoothing=smoothing)
        return total, int(true.sum())

    def functions(self, net: nn.Module) -> dict[str, Function]:
        memory, units, state = net.encoder.size, net.decoder.size, net.decoder.state_size
        read = {"memory": ("B", "T", memory), "keys": ("B", "T", units)}
        return {
            "encode": Function(
                module=Encode(net),
                inputs={"source": ("B", "T"), "lengths": ("B",)},
                outputs={**read, "state": ("B", 1, state)},
            ),
            "step": Function(
                module=Step(net),
                inputs={"tokens": ("B", "K"), "state": ("B", "K", state), **read, "lengths": ("B",)},
                outputs={
                    "log_probabilities": ("B", "K", len(net.bias)),
                    "next_state": ("B", "K", state),
                    "attention": ("B", "K", "T"),
                },
            ),
        }


NETWORK = TranslationNetwork()
