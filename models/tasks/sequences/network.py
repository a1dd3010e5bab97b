"""The network that reads a sequence: features as they are or vectors of tokens, then the family's reader.

B sequences, T steps (padded), F features, E width of a token's vector, H units, S numbers of a state, C labels.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
from torch import Tensor, nn

from models.families.classify.network import LabelNetwork, SignalReader
from models.nets.recurrent import Start
from models.task import Function
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


class Onward(nn.Module):
    """Reads on from a state: what the front last read, then the encoder's."""

    def __init__(self, net: SignalReader) -> None:
        super().__init__()
        self.net = net
        self.size = net.front.state_size + net.encoder.state_size
        """S"""

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, ...]:
        """values (B, T, F) or tokens (B, T), every step real, state (B, S) -> steps (B, T, H), the attention due to
        each (B, T) where they are pooled by it, state (B, S)."""
        net = self.net
        x = net.embedding(x) if isinstance(net, TokenReader) else x
        x, read = net.front.advance(x, state[:, : net.front.state_size])
        steps, after = net.encoder.advance(x, state[:, net.front.state_size :])
        attention = (net.pooling.scores(steps).squeeze(2),) if net.pooling.kind == "attention" else ()
        return steps, *attention, torch.cat([read, after], dim=1)


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

    def functions(self, net: nn.Module) -> dict[str, Function]:
        """One that reads forwards alone can also go on step by step; its steps are pooled by `stream`."""
        found = super().functions(net)
        if net.encoder.bidirectional:
            return found
        onward = Onward(net)
        read = {name: axes for name, axes in self.inputs(net).items() if name != "lengths"}
        state = ("B", onward.size)
        attention: dict[str, tuple[str | int, ...]] = (
            {"attention": ("B", "T")} if net.pooling.kind == "attention" else {}
        )
        return {
            **found,
            "start": Function(module=Start(onward.size), inputs={"lengths": ("B",)}, outputs={"state": state}),
            "advance": Function(
                module=onward,
                inputs={**read, "state": state},
                outputs={"steps": ("B", "T", net.encoder.size), **attention, "after": state},
            ),
            "label": Function(
                module=net.output,
                inputs={"pooled": ("N", net.pooling.size)},
                outputs={"logits": ("N", net.output.out_features)},
            ),
        }


NETWORK = SequenceNetwork()
