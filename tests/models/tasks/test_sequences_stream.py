"""A sequence step by step: after each the label of the sequence so far, by every pooling and front, exported or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from models.predictor import Predictor
from models.runtimes.export import export
from models.runtimes.onnx_run import OnnxRun
from models.runtimes.run import Run
from models.task import Fault
from models.tasks.sequences.codec import CODEC
from models.tasks.sequences.network import NETWORK
from models.tasks.sequences.schema import Step
from models.tasks.sequences.stream import POOLINGS, STREAM
from tests.models.tasks.test_sequences import ALL, ask, learnt, rising, spoken
from tests.stepping import PIECES, assert_close, assert_forks, plain, stepped, together

ONE_WAY: dict[str, Any] = {"bidirectional": False, "epochs": 2}
KINDS: dict[str, dict[str, Any]] = {
    "mean_max": {},
    "last": {"pooling": "last", "motion": "none", "cell": "gru", "layers": [8, 4]},
    "attention": {"pooling": "attention", "motion": "alone", "convolutions": 1},
    "bare": {"convolutions": 0, "kernel": 3},
    "narrow": {"kernel": 1, "pooling": "attention"},
    "short": {"max_steps": 5, "cell": "slstm"},
    "tokens": {"max_steps": 7, "convolutions": 3},
}


@pytest.fixture(scope="module", params=KINDS)
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Predictor, Predictor, list[Any]]:
    """A version run by torch and as it is served, exported; and steps to send it."""
    words = request.param == "tokens"
    rows = spoken(24) if words else rising(24)
    trained, predictor = learnt(rows, **ONE_WAY, **KINDS[request.param])
    folder: Path = tmp_path_factory.mktemp(request.param)
    examples = trained.examples["validation"]

    def asked(run: Run) -> None:
        CODEC.predict(run, CODEC.collate(examples), ALL, trained.state)
        STREAM.rehearse(run, examples, trained.state, predictor.config)

    assert export(NETWORK, trained.net, asked, folder) is None
    served = Predictor(CODEC, trained.state, predictor.config, OnnxRun(folder))
    values = np.random.default_rng(3).normal(size=(21, 3)).tolist()
    return predictor, served, ["go", {"token": 7}, "stop", "never seen", "wait"] * 2 if words else values


@pytest.fixture(scope="module")
def reader(both: tuple[Predictor, Predictor, list[Any]]) -> tuple[Predictor, list[Any]]:
    return both[1:]


def item(steps: list[Any]) -> dict[str, Any]:
    if isinstance(steps[0], str):
        return {"tokens": [step["token"] if isinstance(step, dict) else step for step in steps]}
    return {"values": steps}


def test_each_label_is_that_of_the_sequence_so_far(reader: tuple[Predictor, list[Any]]) -> None:
    predictor, steps = reader
    prefixes = ask(predictor, [item(steps[: count + 1]) for count in range(len(steps))])
    for size in PIECES:
        assert_close(plain(stepped(predictor, steps, size)[0]), plain(prefixes))


def test_several_sequences_in_one_batch_answer_as_each_alone(reader: tuple[Predictor, list[Any]]) -> None:
    predictor, steps = reader
    chosen = [steps[:4], steps[2:], steps]
    for found, each in zip(together(predictor, chosen), chosen, strict=True):
        assert_close(plain(found), plain(stepped(predictor, each, 1000)[0]))


def test_a_fork_goes_on_by_itself(reader: tuple[Predictor, list[Any]]) -> None:
    assert_forks(*reader)


def test_torch_and_the_export_go_on_alike(both: tuple[Predictor, Predictor, list[Any]]) -> None:
    torch, served, steps = both
    assert_close(plain(stepped(torch, steps, 4)[0]), plain(stepped(served, steps, 4)[0]))


def test_once_no_further_step_is_read_the_label_stays_and_little_is_kept() -> None:
    _, predictor = learnt(rising(24), **ONE_WAY, max_steps=4)
    found, memory = stepped(predictor, np.ones((9, 3)).tolist(), 2)
    assert set(memory) == {"pooled", "count"}
    assert all(output == found[3] for output in found[4:])


def test_attention_is_shared_out_however_far_apart_it_is_due() -> None:
    draw = np.random.default_rng(0)
    steps, due = draw.normal(size=(30, 4)).astype(np.float32), np.cumsum(draw.normal(scale=500, size=30))
    held, found = {}, []
    for start in range(0, 30, 7):
        told = {"steps": steps[start : start + 7], "attention": due[start : start + 7]}
        pooled, held = POOLINGS["attention"](told, np.arange(30), held)
        found.append(pooled)
    for count, one in enumerate(np.concatenate(found), 1):
        shares = np.exp(due[:count] - due[:count].max())
        np.testing.assert_allclose(one, shares @ steps[:count] / shares.sum(), atol=1e-6)


def test_steps_of_another_kind_or_width_are_refused_at_their_place(reader: tuple[Predictor, list[Any]]) -> None:
    predictor, steps = reader
    wrong: Any = [1.0, 2.0] if isinstance(steps[0], str) else "word"
    with pytest.raises(Fault, match="this model was taught with") as caught:
        stepped(predictor, [*steps[:2], wrong], 1000)
    assert caught.value.at[0] == 2
    if not isinstance(steps[0], str):
        with pytest.raises(Fault, match="1 number a step where this model was taught 3 numbers a step") as caught:
            stepped(predictor, [*steps[:2], 1.0], 1000)
        assert caught.value.at == (2, "value")


def test_one_that_reads_in_both_directions_or_is_older_is_refused() -> None:
    trained, both = learnt(rising(12), epochs=1)
    assert both.stepper() == "it reads in both directions, and so needs the whole sequence at once"
    assert set(NETWORK.functions(trained.net)) == {"forward"}
    _, one = learnt(rising(12), **ONE_WAY)
    one.lacking = ["advance"]
    assert one.stepper() == "it was trained before there were sessions: train again"


@pytest.mark.parametrize("wrong", [{}, None, [], [[1]], [1, None], {"value": 1, "token": "x"}, "", float("inf")])
def test_what_is_no_step_is_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        Step.model_validate(wrong)
