"""What every task promises, on its own sample: it learns, is saved, loaded and answers. Knows no task by name."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import save_file

from models import artifact, catalog, predictor
from models.batch import Example
from models.checkpoint import Checkpoint
from models.monitor import EpochReport, Progress, Stopped
from models.predictor import Predictor
from models.runtimes.export import export
from models.runtimes.onnx_run import OnnxRun
from models.runtimes.run import Run
from models.runtimes.torch_run import TorchRun
from models.stream import Sent
from models.task import PARTS, AnyCodec, Card, Params
from models.trainer import Trained, train
from models.warm import Warm
from tests.samples import sample
from tests.stepping import CLOSE, assert_close

SMALL = {"hidden": 16, "epochs": 25, "patience": 25, "lr": 0.01}
"""A run of seconds, whatever a task's own defaults are."""


@dataclass(frozen=True, kw_only=True)
class Learnt:
    """A task trained on its own sample, and its artifact."""

    card: Card
    codec: AnyCodec
    trained: Trained
    folder: Path
    unexported: str | None

    def examples(self) -> list[Example]:
        """Examples of several lengths, shortest and longest among them."""
        found = [example for part in PARTS for example in self.trained.examples[part]]
        found.sort(key=lambda example: example.length)
        return [*found[:3], *found[3 :: max(1, len(found) // 12)], found[-1]]


def learn(name: str, *, watch: Interrupting | None = None, **config: Any) -> Trained:
    card = catalog.card(name)
    parts = sample(card)
    return train(catalog.codec(name), catalog.network(name), parts, card.config(**config), monitor=watch, keeper=watch)


@pytest.fixture(scope="module", params=catalog.names())
def learnt(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Learnt:
    name = request.param
    card, codec, folder = catalog.card(name), catalog.codec(name), tmp_path_factory.mktemp(name)
    trained = learn(name, **SMALL)
    save_file(trained.net.state_dict(), folder / artifact.WEIGHTS)
    examples = [example for part in PARTS for example in trained.examples[part]]
    batches = [codec.collate(examples[i : i + 4]) for i in range(0, min(len(examples), 16), 4)]

    def ask(run: Run) -> None:
        for batch in batches:
            codec.predict(run, batch, card.params(), trained.state)

    unexported = export(catalog.network(name), trained.net, ask, folder)
    artifact.write(
        folder,
        task=name,
        state=trained.state,
        config=card.config(**SMALL),
        metrics=trained.metrics,
        parameters=trained.parameters,
        code_version="test",
        created_at="2026-01-01T00:00:00Z",
    )
    return Learnt(card=card, codec=codec, trained=trained, folder=folder, unexported=unexported)


def asked(card: Card) -> Params:
    """The defaults of a request, but for chance: where there is a seed to give, one is given."""
    return card.params(seed=1) if "seed" in card.params.model_fields else card.params()


def outputs(held: Predictor, items: list[Any]) -> list[dict[str, Any]]:
    params = asked(held.codec.card)
    parsed = [held.codec.card.parse_item(item) for item in items]
    found = held.answer([held.prepare(item, params) for item in parsed], params)
    return [output.model_dump() for output in found]


def test_the_sample_is_learnt(learnt: Learnt) -> None:
    history = [report.values["train_loss"] for report in learnt.trained.history]
    assert min(history) < 0.8 * history[0]
    assert learnt.card.metric in learnt.trained.metrics
    assert {"validation_loss", f"validation_{learnt.card.metric}"} <= learnt.trained.metrics.keys()


def test_the_loaded_version_answers_as_the_trained_one(learnt: Learnt) -> None:
    card, trained = learnt.card, learnt.trained
    run = TorchRun(trained.net, catalog.network(card.name))
    fresh = Predictor(learnt.codec, trained.state, card.config(**SMALL), run)
    loaded = predictor.load(learnt.folder)
    loaded.probe()
    assert_close(outputs(loaded, list(card.examples)), outputs(fresh, list(card.examples)))


def test_an_output_is_json_of_its_schema(learnt: Learnt) -> None:
    for found in outputs(predictor.load(learnt.folder), list(learnt.card.examples)):
        learnt.card.output.model_validate_json(json.dumps(found, allow_nan=False))


def test_alone_or_in_a_batch_the_same_answer(learnt: Learnt) -> None:
    examples, params = learnt.examples(), learnt.card.params()
    assert len({example.length for example in examples}) > 1, "the sample must hold several lengths"
    loaded = predictor.load(learnt.folder)
    together = [output.model_dump() for output in loaded.answer(examples, params)]
    alone = [loaded.answer([example], params)[0].model_dump() for example in examples]
    assert_close(together, alone)
    backwards = [output.model_dump() for output in loaded.answer(examples[::-1], params)]
    assert_close(backwards[::-1], alone)


class Both:
    """A `Run` that asks two others and holds their answers against each other."""

    def __init__(self, one: Run, other: Run) -> None:
        self.one, self.other, self.calls = one, other, 0

    def __call__(self, function: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.calls += 1
        expected, found = self.one(function, inputs), self.other(function, inputs)
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], array, rtol=CLOSE, atol=CLOSE)
        return expected


def test_onnx_says_what_torch_says_on_ragged_batches(learnt: Learnt) -> None:
    assert learnt.unexported is None
    run = Both(TorchRun(learnt.trained.net, catalog.network(learnt.card.name)), OnnxRun(learnt.folder))
    examples = learnt.examples()
    for chosen in (examples, examples[:1], examples[-1:], examples[::2]):
        learnt.codec.predict(run, learnt.codec.collate(chosen), learnt.card.params(), learnt.trained.state)
    assert run.calls >= 4


def test_the_steps_that_a_card_shows_are_answered(learnt: Learnt) -> None:
    card = learnt.card.stream
    if card is None:
        assert catalog.stream(learnt.card.name) is None
        return
    stepper = predictor.load(learnt.folder).stepper()
    if isinstance(stepper, str):
        assert learnt.trained.net.encoder.bidirectional, stepper
        return
    steps, params = [TypeAdapter(card.step).validate_python(step) for step in card.examples], card.params()
    sent = Sent(steps=steps, memory={}, item=card.item(), params=params)
    outputs, memory = stepper.answer([stepper.prepare(sent)], params)[0]
    assert len(outputs) == len(steps)
    assert memory
    for output in outputs:
        card.output.model_validate_json(json.dumps(output.model_dump(), allow_nan=False))


def test_a_bad_item_fails_alone(learnt: Learnt) -> None:
    good = list(learnt.card.examples)
    loaded = predictor.load(learnt.folder)
    expected = outputs(loaded, good)
    for bad in ({}, {"no such field": 1}, None, [], ""):
        with pytest.raises(ValidationError):
            learnt.card.parse_item(bad)
    assert outputs(loaded, good) == expected


def test_a_row_holds_an_item_and_shows_no_answer(learnt: Learnt) -> None:
    card = learnt.card
    path = Path(catalog.__file__).parent / "tasks" / card.name / "sample.jsonl"
    items = [card.asked(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    assert all(items)
    assert not {name for item in items for name in item} & {*card.answers, "split", "id"}
    assert len(outputs(predictor.load(learnt.folder), items[:8])) == 8


class Interrupting:
    """A monitor that stops a training after some batches, and the keeper of what was laid down then."""

    def __init__(self, batches: int) -> None:
        self.left, self.held = batches, list[Checkpoint]()

    def progress(self, progress: Progress) -> None: ...

    def epoch(self, report: EpochReport) -> None: ...

    def log(self, text: str, level: str = "info") -> None: ...

    def enough(self, *, epoch: int, best: float) -> None: ...

    def stop(self) -> str | None:
        self.left -= 1
        return "interrupted" if self.left == -1 else None

    def latest(self) -> Checkpoint | None:
        return self.held[-1] if self.held else None

    def resumed(self, *, epoch: int, step: int) -> None: ...

    def keep(self, checkpoint: Checkpoint) -> None:
        self.held.append(checkpoint)


def test_a_seed_gives_its_weights_interrupted_or_not_and_another_seed_others(learnt: Learnt) -> None:
    name, interrupting = learnt.card.name, Interrupting(3)
    first, other = (learn(name, hidden=8, epochs=2, seed=seed) for seed in (3, 4))
    with pytest.raises(Stopped):
        learn(name, hidden=8, epochs=2, seed=3, watch=interrupting)
    resumed = learn(name, hidden=8, epochs=2, seed=3, watch=interrupting)
    pairs = list(zip(first.net.state_dict().values(), resumed.net.state_dict().values(), strict=True))
    assert all(one.equal(two) for one, two in pairs)
    assert first.metrics == resumed.metrics
    rest = zip(first.net.state_dict().values(), other.net.state_dict().values(), strict=True)
    assert not all(one.equal(two) for one, two in rest)


def test_validation_rows_can_be_learnt_from_as_well(learnt: Learnt) -> None:
    once, anew = (learn(learnt.card.name, hidden=8, epochs=1, refit=refit) for refit in (False, True))
    assert anew.metrics["refit_epochs"] == 1
    assert anew.metrics["validation_loss"] == once.metrics["validation_loss"], "that of before"
    pairs = zip(once.net.state_dict().values(), anew.net.state_dict().values(), strict=True)
    assert not all(one.equal(two) for one, two in pairs)


def test_a_warm_start_begins_where_the_version_stood(learnt: Learnt) -> None:
    card, trained = learnt.card, learnt.trained
    network = catalog.network(card.name)
    sizes = {name: parameter.shape for name, parameter in trained.net.named_parameters()}
    for name, axes in network.names(trained.state).items():
        assert tuple(map(len, axes)) == sizes[name][: len(axes)], name
        assert all(len(set(axis)) == len(axis) for axis in axes), name
    warm = Warm(name="old:1", state=trained.state, tensors=trained.net.state_dict())
    config = card.config(**{**SMALL, "epochs": 1})
    begun = train(learnt.codec, network, sample(card), config, warm=warm).history[0]
    assert begun.epoch == 0
    assert begun.values["validation_loss"] == pytest.approx(trained.metrics["validation_loss"], rel=CLOSE, abs=CLOSE)


def test_it_answers_without_torch(learnt: Learnt) -> None:
    code = (
        "import sys; from pathlib import Path; from models import predictor\n"
        f"predictor.load(Path({str(learnt.folder)!r})).probe()\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
