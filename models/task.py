"""What a task is: a card, a codec and a network. Knows no file, no socket, no torch.

A task gives meaning to arrays and keeps nothing between calls. It has three parts, each needing
less than the next:

* a **card** (pydantic): names, and the schemas of what goes in and comes out;
* a **codec** (NumPy): rows and items to padded arrays, and arrays back to outputs;
* a **network** (torch): what is learnt and how. Torch begins here.

Words: a *row* is one line of a data set (an item and its answer), an *item* is one thing to predict
on, an *example* is what the network reads for one of them, a *batch* is several examples padded to
one length, an *output* is one prediction, a *state* is what was counted before learning.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Literal, Protocol, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from models.archive import Archive
from models.batch import Batch, Example
from models.readers import Bad, Record
from models.runtimes.run import Run

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")

Line = tuple[int, Mapping[str, Any]]
"""One record of a file and the number of the line it began on (from 1)."""


class Fault(ValueError):
    """A row, an item or an option that is well formed but cannot be used; a sentence with the value.

    `at` is the place inside the thing at fault, e.g. ``("values", 17)``; `of` says whose place it is.
    """

    def __init__(self, detail: str, *, at: tuple[str | int, ...] = (), of: Literal["item", "params"] = "item") -> None:
        super().__init__(detail)
        self.detail = detail
        self.at = at
        self.of = of


class Schema(BaseModel):
    """What every shape on the wire or on disk derives from: closed, finite, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Params(Schema):
    """Options of one request. Only items with equal params share a batch."""


Cell = Literal["lstm", "gru", "rnn", "peephole", "coupled", "slstm"]
"""The recurrent cells that every encoder is made of."""
Width = Annotated[int, Field(ge=1, le=2048)]


class Config(Schema):
    """Options of one training run that every task shares."""

    cell: Cell = Field(
        "lstm",
        description="Recurrent cell of the encoder: `lstm`, `gru`, `rnn` (Elman), or an LSTM with `peephole` "
        "connections, with `coupled` input and forget gate, or with exponential gating (`slstm`).",
    )
    hidden: Width = Field(64, description="Units of each layer and direction.")
    layers: Annotated[int, Field(ge=1, le=8)] | Annotated[list[Width], Field(min_length=1, max_length=8)] = Field(
        1, description="How many layers of `hidden` units, or a list with the units of each layer."
    )
    bidirectional: bool = Field(False, description="Read each sequence in both directions.")
    dropout: float = Field(0.1, ge=0.0, lt=1.0, description="Share of activations dropped while learning.")
    epochs: int = Field(20, ge=1, le=10_000, description="Passes over the training part at most.")
    patience: int = Field(5, ge=1, le=10_000, description="Epochs without a better score before stopping.")
    lr: float = Field(2e-3, gt=0.0, le=1.0, description="Peak learning rate of AdamW.")
    batch_steps: int = Field(
        4096, ge=1, le=10_000_000, description="Padded time steps in one batch at most; bounds memory."
    )
    refit: bool = Field(
        False,
        description="Once the best epoch is known, learn anew for as many from the training and the validation part "
        "together. The validation scores stay those of before; with no test part nothing has judged the final weights.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Arithmetic while learning; `auto` takes what the device runs best."
    )
    quantize: bool = Field(
        False,
        description="Serve with weights in 8 bits on a CPU, if that is measured to be faster and moves the metric on "
        "the validation part by less than 0.2 points. Answers then depend a little on those computed with them.",
    )
    processes: int = Field(
        1, ge=1, le=64, description="Processes that share each batch of one training: on a GPU each, or on one CPU."
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seed of every random choice; same seed, same weights.")

    @property
    def widths(self) -> list[int]:
        """Units of each layer, first to last."""
        return [self.hidden] * self.layers if isinstance(self.layers, int) else list(self.layers)


class Tally(ABC):
    """Counts one data set while its rows stream by; memory stays bounded however many there are."""

    @abstractmethod
    def add(self, row: Any, *, line: int, part: Part | None) -> None:
        """Count one valid row; `part` is the row's own `split`, None where it names none."""

    @abstractmethod
    def stats(self) -> dict[str, Any]:
        """What a person wants to read about the data: counts, lengths, missing values (JSON)."""

    def faults(self) -> list[tuple[int | None, str]]:
        """Faults that only several rows together show, as (line, sentence); any refuses the file."""
        return []

    def warnings(self) -> list[str]:
        """What is suspicious and yet allowed, a sentence each."""
        return []


@dataclass(frozen=True, kw_only=True)
class StepCard:
    """What may be sent and answered where the sequence of an item arrives step by step."""

    step: Any
    """A pydantic type: one step."""
    output: type[Schema]
    """The answer to one step, given all before."""
    item: type[Schema]
    """What an item says beside its steps; every field may be left out."""
    params: type[Params]
    examples: tuple[Any, ...]
    """Steps in order, shown in the API documents and used by the tests."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What may be asked of a task, with which options, and what is answered."""

    name: str
    title: str
    item: Any
    """A pydantic type (a Schema, or a union such as ``str | TextItem``): one thing to predict on."""
    row: type[Schema]
    """One line of a data set: an item and its answer. Has a field ``split: Part | None = None``."""
    output: type[Schema]
    state: type[Schema]
    tally: type[Tally]
    params: type[Params] = Params
    config: type[Config] = Config
    examples: tuple[Any, ...]
    """Items shown in the API documents and used by the tests."""
    metric: str
    """Picks the best epoch; "loss" is always scored too."""
    higher_is_better: bool = True
    split_by: Literal["rows", "time"] = "rows"
    """`rows`: a row lies in one part. `time`: a row without a `split` gives to every part, and
    `Codec.examples` cuts it along time."""
    table: Callable[[Iterator[Line]], Iterator[Line | Bad]] | None = None
    """How the records of a table (CSV, TSV, Parquet) become rows, or faults by line; None: a record is a row."""
    headed: bool = True
    """Whether the first line of a CSV or TSV file names its columns; else `table` gets it as a record, with columns
    called "1", "2" and so on."""
    archive: Callable[[Archive], Iterator[Record | Bad]] | None = None
    """How a zip becomes records of rows (audio and labels, MIDI files); None: a zip is refused."""
    answers: tuple[str, ...] = ("label",)
    """Fields of a row that hold its answer: what is left tells it from another row."""
    named: Mapping[str, str] = field(default_factory=dict)
    """Fields that a row calls otherwise than its item does: ``{"source": "text"}``."""
    scoring: Params | None = None
    """Params with which parts are scored while learning (a narrow beam, nothing generated); default: a request's."""
    stream: StepCard | None = None
    """How an item may arrive step by step; `models/tasks/<name>/stream.py` then holds a `models.stream.Stream`."""
    media: Mapping[str, Callable[[Any], bytes]] = field(default_factory=dict)
    """Other forms of one output by media type, for callers whose `Accept` names it: ``{"audio/midi": to_midi}``."""

    def parse_item(self, value: Any) -> Any:
        """A JSON value as an item of this task. Raises pydantic's `ValidationError`."""
        return TypeAdapter(self.item).validate_python(value)

    def asked(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What a row, as JSON, asks: its item, without the answer and without what only data sets say."""
        renamed = {self.named.get(name, name): value for name, value in row.items()}
        return {name: value for name, value in renamed.items() if name in self.fields}

    @property
    def fields(self) -> set[str]:
        """The fields of an item."""
        shapes = [shape for shape in (self.item, *get_args(self.item)) if hasattr(shape, "model_fields")]
        return {name for shape in shapes for name in shape.model_fields}


class Vectors(Protocol):
    """Pretrained word vectors, as a codec and a network see them."""

    @property
    def width(self) -> int: ...

    @property
    def rows(self) -> Mapping[str, int]:
        """The row of each word, in the file's order: several words may share one."""
        ...

    def __contains__(self, word: str) -> bool: ...

    def matrix(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The vectors of `words`, float32 (N, width), and which of them are known, bool (N,)."""
        ...


RowT = TypeVar("RowT", bound=Schema)
ItemT = TypeVar("ItemT")
OutputT = TypeVar("OutputT", bound=Schema)
StateT = TypeVar("StateT", bound=Schema)
ParamsT = TypeVar("ParamsT", bound=Params)
ConfigT = TypeVar("ConfigT", bound=Config)


class Codec(ABC, Generic[RowT, ItemT, OutputT, StateT, ParamsT, ConfigT]):
    """Rows and items to arrays, and arrays to outputs. NumPy only; keeps nothing between calls."""

    card: ClassVar[Card]

    @abstractmethod
    def learn(self, rows: Sequence[RowT], config: ConfigT, vectors: Vectors | None = None) -> StateT:
        """Count what must be known before learning, from the training rows alone."""

    @abstractmethod
    def examples(self, row: RowT, state: StateT, config: ConfigT, part: Part) -> Iterator[Example]:
        """The examples of one row, with their answers; one series gives hundreds of windows."""

    @abstractmethod
    def example(self, item: ItemT, params: ParamsT, state: StateT, config: ConfigT) -> Example:
        """The one example of a request's item. Raises `Fault` where the item cannot be used."""

    @abstractmethod
    def collate(self, examples: Sequence[Example]) -> Batch:
        """Several examples padded to one length (by `models.batch.pad`, the only code that pads)."""

    @abstractmethod
    def predict(self, run: Run, batch: Batch, params: ParamsT, state: StateT) -> list[OutputT]:
        """One output per example of the batch, in its order, whatever else is in the batch."""

    @abstractmethod
    def score(self, outputs: Sequence[OutputT], answers: Sequence[Any]) -> dict[str, float]:
        """The card's metric and its companions over a whole part; `answers` are `Example.answer`."""

    def remarks(self, rows: Mapping[Part, Sequence[RowT]], state: StateT, config: ConfigT) -> list[str]:
        """What makes rows that can be learnt from a poor teacher: a sentence each, with what to do. Told at the start
        of a training, before anything is learnt."""
        return []

    def probes(self, state: StateT) -> Sequence[ItemT]:
        """Items that a version must answer before it is put to work; by default the card's examples. A task whose
        state fixes what its items look like (a width, a kind) makes items that fit."""
        return [self.card.parse_item(example) for example in self.card.examples]

    def guess(self, answers: Sequence[Any], state: StateT) -> float | None:
        """The metric of always giving the training part's most frequent answer; None where that means nothing."""
        return None

    def steps(self, item: ItemT, state: StateT, config: ConfigT) -> list[str]:
        """What the encoder reads at each step, for a person: words, notes. Empty: the steps have but numbers."""
        return []

    def calibrate(self, run: Run, batches: Sequence[Batch], state: StateT, answers: Sequence[Sequence[Any]]) -> StateT:
        """A new state with thresholds or temperatures fitted on the validation part; by default the same."""
        return state


@dataclass(frozen=True, kw_only=True)
class Function:
    """One function of a network that `run` may call by name, with the names of its free axes.

    `inputs` and `outputs` are in the order of `module.forward`'s arguments and returned tuple. An axis
    given as a name ("B", "T") is free; one given as a number is fixed:
    ``{"values": ("B", "T", 3), "lengths": ("B",)}``. Lengths and ids are int64, all else float32.
    """

    module: nn.Module
    inputs: Mapping[str, tuple[str | int, ...]]
    outputs: Mapping[str, tuple[str | int, ...]]


class Network(ABC, Generic[StateT, ConfigT]):
    """What is learnt and how. Needs torch."""

    @abstractmethod
    def build(self, state: StateT, config: ConfigT) -> nn.Module:
        """The one place that chooses an architecture; needs only state and config, so weights fit later."""

    @abstractmethod
    def loss(self, net: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        """The sum of the loss over a batch of tensors, and the count it runs over: exact over unequal batches."""

    @abstractmethod
    def functions(self, net: nn.Module) -> dict[str, Function]:
        """The functions that `run` may call; each is exported and each is checked."""

    def initialise(self, net: nn.Module, state: StateT, config: ConfigT, vectors: Vectors | None) -> None:
        """Give a fresh network its start: pretrained vectors, output biases. Runs after seeding."""

    def names(self, state: StateT) -> Mapping[str, tuple[Sequence[Hashable], ...]]:
        """What the places of a parameter stand for where the state says it, axis by axis from the first:
        ``{"words.weight": (words,), "output.bias": (labels,)}``. A warm start carries them over by these names."""
        return {}

    def parameter_groups(self, net: nn.Module, config: ConfigT) -> list[dict[str, Any]]:
        """AdamW's groups: ``params``, and where they differ ``lr_scale`` and ``weight_decay``."""
        return [{"params": list(net.parameters())}]


AnyCodec = Codec[Any, Any, Any, Any, Any, Any]
AnyNetwork = Network[Any, Any]
