"""A task of one page, for tests of the trainer: does a sequence's sum rise above zero? Knows nothing of files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from models.batch import Batch, Example, pad
from models.nets.recurrent import Encoder
from models.task import Card, Codec, Config, Function, Network, Part, Schema, Tally


class Item(Schema):
    values: list[float]


class Row(Item):
    answer: bool
    split: Part | None = None


class Output(Schema):
    score: float


class State(Schema):
    mean: float
    calibrated: bool = False


class Count(Tally):
    def add(self, row: Any, *, line: int, part: Part | None) -> None: ...

    def stats(self) -> dict[str, Any]:
        return {}


CARD = Card(
    name="tiny",
    title="Tiny",
    item=Item,
    row=Row,
    output=Output,
    state=State,
    tally=Count,
    examples=({"values": [1.0]},),
    metric="accuracy",
)


class TinyCodec(Codec[Any, Any, Any, Any, Any, Any]):
    card = CARD
    accuracy: float | None = None
    """A score to claim instead of the true one."""

    def learn(self, rows: Sequence[Row], config: Config, vectors: Any = None) -> State:
        return State(mean=float(np.mean([value for row in rows for value in row.values])) if rows else 0.0)

    def examples(self, row: Row, state: State, config: Config, part: Part) -> Iterator[Example]:
        arrays = {
            "values": np.array(row.values, dtype=np.float32)[:, None],
            "answer": np.array(row.answer, dtype=np.float32),
        }
        yield Example(arrays=arrays, length=len(row.values), answer=row.answer)

    def example(self, item: Item, params: Any, state: State, config: Config) -> Example:
        return Example(
            arrays={"values": np.array(item.values, dtype=np.float32)[:, None]},
            length=len(item.values),
        )

    def collate(self, examples: Sequence[Example]) -> Batch:
        arrays = {name: pad([example.arrays[name] for example in examples]) for name in examples[0].arrays}
        arrays["lengths"] = np.array([example.length for example in examples], dtype=np.int64)
        return Batch(arrays=arrays)

    def predict(self, run: Any, batch: Batch, params: Any, state: State) -> list[Output]:
        return [Output(score=float(score)) for score in run("forward", batch.arrays)["score"]]

    def score(self, outputs: Sequence[Output], answers: Sequence[bool]) -> dict[str, float]:
        right = np.mean([(output.score > 0) == answer for output, answer in zip(outputs, answers, strict=True)])
        return {"accuracy": float(right) if self.accuracy is None else self.accuracy}

    def calibrate(self, run: Any, batches: Any, state: State, answers: Any) -> State:
        return state.model_copy(update={"calibrated": True})


class TinyNet(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.encoder = Encoder(1, config.widths, cell=config.cell, dropout=config.dropout)
        self.output = nn.Linear(self.encoder.size, 1)

    def forward(self, values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """values (B, T, 1), lengths (B,) -> (B,)."""
        return self.output(self.encoder(values, lengths)[1])[:, 0]


class TinyNetwork(Network[Any, Any]):
    poison: float | None = None
    """What the loss is multiplied with from the third step on."""
    steps = 0

    def build(self, state: State, config: Config) -> nn.Module:
        return TinyNet(config)

    def loss(self, net: nn.Module, batch: Batch) -> tuple[torch.Tensor, int]:
        said = net(batch.arrays["values"], batch.arrays["lengths"])
        total = nn.functional.binary_cross_entropy_with_logits(said.float(), batch.arrays["answer"], reduction="sum")
        if net.training:
            self.steps += 1
            if self.poison is not None and self.steps > 2:
                total = total * self.poison
        return total, len(said)

    def functions(self, net: nn.Module) -> dict[str, Function]:
        inputs = {"values": ("B", "T", 1), "lengths": ("B",)}
        return {"forward": Function(module=net, inputs=inputs, outputs={"score": ("B",)})}


def rows(n: int, *, seed: int = 0, longest: int = 9) -> list[Row]:
    """Sequences of 1 to `longest` steps, with the truth."""
    generator = np.random.default_rng(seed)
    made = [generator.normal(size=generator.integers(1, longest + 1)).tolist() for _ in range(n)]
    return [Row(values=values, answer=sum(values) > 0) for values in made]
