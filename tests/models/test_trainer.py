"""The loop: exact losses, the best weights back, the same run twice, and a reason when it cannot go on."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models import judge, trainer
from models.batch import Example
from models.judge import Judge, glanced_at
from models.memory import guarded
from models.monitor import EpochReport, Progress, Stopped, TrainingError
from models.nets.recurrent import CELLS
from models.runtimes.torch_run import TorchRun
from models.task import Config
from models.trainer import Trained, train


def _tiny() -> Any:
    spec = importlib.util.spec_from_file_location("cellgate_tiny_task", Path(__file__).parent / "tiny.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


tiny = _tiny()


class Watch:
    """Remembers what it was told."""

    def __init__(self, stop_after: int | None = None, enough_after: int | None = None) -> None:
        self.seen: list[Progress] = []
        self.epochs: list[EpochReport] = []
        self.said: list[tuple[str, str]] = []
        self.asked, self.stop_after = 0, stop_after
        self.bests: list[float] = []
        self.enough_after = enough_after

    def progress(self, progress: Progress) -> None:
        self.seen.append(progress)

    def epoch(self, report: EpochReport) -> None:
        self.epochs.append(report)

    def log(self, text: str, level: str = "info") -> None:
        self.said.append((level, text))

    def enough(self, *, epoch: int, best: float) -> str | None:
        self.bests.append(best)
        return "pruned" if epoch == self.enough_after else None

    def stop(self) -> str | None:
        self.asked += 1
        return "cancel" if self.stop_after is not None and self.asked > self.stop_after else None


def run(
    watch: Watch | None = None, *, codec: Any = None, network: Any = None, parts: Any = None, **options: Any
) -> Trained:
    settings = {"hidden": 8, "epochs": 4, "dropout": 0.0, "lr": 0.01} | options.pop("config", {})
    parts = parts or {"train": tiny.rows(120), "validation": tiny.rows(40, seed=1), "test": tiny.rows(40, seed=2)}
    return train(
        codec or tiny.TinyCodec(), network or tiny.TinyNetwork(), parts, Config(**settings), monitor=watch, **options
    )


def weights(trained: Trained) -> list[torch.Tensor]:
    return list(trained.net.state_dict().values())


def same(one: Trained, other: Trained) -> bool:
    return all(a.equal(b) for a, b in zip(weights(one), weights(other), strict=True))


def test_it_learns_and_says_what_each_epoch_measured() -> None:
    watch = Watch()
    trained = run(watch, config={"epochs": 25, "patience": 25})
    assert trained.metrics["accuracy"] == trained.metrics["test_accuracy"] > 0.8
    assert {"validation_loss", "validation_accuracy", "test_loss"} <= trained.metrics.keys()
    assert trained.history == watch.epochs
    assert len(watch.epochs) == 25
    told = {"train_loss", "validation_loss", "accuracy", "lr", "grad_norm", "examples_per_second"}
    assert told <= watch.epochs[0].values.keys()
    assert watch.epochs[-1].values["train_loss"] < 0.7 * watch.epochs[0].values["train_loss"]
    assert watch.seen[-1].fraction == 1.0
    assert watch.seen[-1].step == watch.seen[-1].steps
    assert [p.fraction for p in watch.seen] == sorted(p.fraction for p in watch.seen)
    assert trained.parameters == sum(p.numel() for p in trained.net.parameters())
    assert trained.state.calibrated


@pytest.mark.parametrize("cell", CELLS)
def test_the_same_seed_repeats_bit_for_bit(cell: str) -> None:
    config = {"cell": cell, "layers": 2, "dropout": 0.3, "seed": 7}
    one, again, other = run(config=config), run(config=config), run(config=config | {"seed": 8})
    assert same(one, again)
    assert one.metrics == again.metrics
    assert not same(one, other)


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_learns_in_half_precision(cell: str) -> None:
    trained = run(config={"cell": cell, "precision": "bf16", "epochs": 2})
    assert all(math.isfinite(value) for report in trained.history for value in report.values.values())
    assert {weight.dtype for weight in trained.net.state_dict().values()} == {torch.float32}


def test_the_loss_of_a_part_is_exact_over_unequal_batches() -> None:
    parts = {"train": tiny.rows(50), "validation": tiny.rows(3000, seed=5, longest=12)}
    trained = run(parts=parts, config={"epochs": 1, "batch_steps": 64})
    codec = tiny.TinyCodec()
    batch = codec.collate(trained.examples["validation"]).mapped(torch.from_numpy)
    with torch.no_grad():
        total, n = tiny.TinyNetwork().loss(trained.net, batch)
    assert trained.metrics["validation_loss"] == pytest.approx(float(total) / n, rel=1e-5)


def test_some_training_examples_are_scored_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = run(parts={"train": tiny.rows(90), "validation": tiny.rows(30, seed=5)})
    assert all(0 <= report.values["train_accuracy"] <= 1 for report in trained.history)
    chosen = glanced_at(trained.examples["train"], trained.examples["validation"])
    assert len({id(example) for example in chosen} & {id(example) for example in trained.examples["train"]}) == 30
    assert list(chosen) == list(glanced_at(trained.examples["train"], trained.examples["validation"]))
    monkeypatch.setattr(judge, "GLANCE", 0)
    without = run(parts={"train": tiny.rows(90), "validation": tiny.rows(30, seed=5)})
    assert same(trained, without)
    assert "train_accuracy" not in without.history[0].values
    assert "train_accuracy" not in run(parts={"train": tiny.rows(30)}).history[0].values, "it is validation already"


def test_scored_training_examples_are_of_all_kinds_where_kinds_take_turns() -> None:
    train = [Example(arrays={}, length=1, answer=number % 4) for number in range(96)]
    assert {example.answer for example in glanced_at(train, train[:12])} == {0, 1, 2, 3}


def test_the_best_weights_come_back() -> None:
    trained = run(config={"epochs": 10, "lr": 0.3, "patience": 10})
    best = max(trained.history, key=lambda r: (r.values["accuracy"], -r.values["validation_loss"]))
    assert trained.metrics["validation_loss"] == pytest.approx(best.values["validation_loss"], rel=1e-5)
    assert trained.metrics["validation_accuracy"] == best.values["accuracy"]


def test_it_stops_when_nothing_gets_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "LEAST_STEPS", 1)
    watch = Watch()
    trained = run(watch, config={"epochs": 500, "lr": 1e-7, "patience": 1, "hidden": 1})
    assert len(trained.history) < 500
    assert any("no better score for 1 epochs" in text for _, text in watch.said)


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_it_before_the_step(poison: float, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: (taken.append(1), step(self)))
    network = tiny.TinyNetwork()
    network.poison = poison
    with pytest.raises(TrainingError, match=r"the loss became (nan|inf) at step 3 \(epoch 1\)") as caught:
        run(network=network)
    assert caught.value.type == "diverged"
    assert "lower `lr`" in caught.value.remedy
    assert len(taken) == 2


def test_a_score_that_is_never_a_number_is_an_error_and_not_an_untrained_model() -> None:
    codec = tiny.TinyCodec()
    codec.accuracy = math.nan
    with pytest.raises(TrainingError, match="accuracy") as caught:
        run(codec=codec)
    assert caught.value.type == "bad-data"


def test_a_finite_loss_that_explodes_has_diverged() -> None:
    network = tiny.TinyNetwork()
    network.poison = 1e9
    parts = {"train": tiny.rows(20), "validation": tiny.rows(5)}
    network.steps = -1000  # the first epoch is sound
    config = {"epochs": 1, "batch_steps": 1000}
    steps = run(network=network, parts=parts, config=config).history[0].step
    network.steps = 2 - steps
    with pytest.raises(TrainingError, match="rose to"):
        run(network=network, parts=parts, config=config | {"epochs": 3})


def test_no_training_example_is_bad_data() -> None:
    with pytest.raises(TrainingError, match="the training part holds no row") as caught:
        run(parts={"train": [], "validation": tiny.rows(3)})
    assert caught.value.type == "bad-data"


def test_without_validation_the_training_part_is_scored_and_said_so() -> None:
    watch = Watch()
    trained = run(watch, parts={"train": tiny.rows(30)})
    assert any(level == "warning" and "validation" in text for level, text in watch.said)
    assert "test_accuracy" not in trained.metrics
    assert trained.metrics["accuracy"] == trained.metrics["validation_accuracy"]


def test_the_monitor_stops_it_between_batches() -> None:
    watch = Watch(stop_after=3)
    with pytest.raises(Stopped) as caught:
        run(watch)
    assert caught.value.reason == "cancel"
    assert watch.asked == 4


def test_time_that_is_up_ends_it_within_an_epoch_and_keeps_what_was_learnt() -> None:
    watch = Watch()
    trained = run(watch, config={"epochs": 1000, "patience": 1000}, max_seconds=0.0)
    assert len(trained.history) == 1
    assert trained.history[0].step == 1
    assert any(level == "warning" and "time" in text for level, text in watch.said)
    assert trained.ended == "max_seconds"
    assert trained.metrics["test_accuracy"] >= 0.0, "it is judged and kept all the same"


def test_the_rate_warms_up_and_falls() -> None:
    watch = Watch()
    run(watch, config={"epochs": 10, "patience": 10})
    rates = [report.values["lr"] for report in watch.epochs]
    assert max(rates) == rates[0] <= 0.01
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.1 * rates[0]


def test_groups_scale_the_rate() -> None:
    class Frozen(tiny.TinyNetwork):  # type: ignore[name-defined,misc]
        def parameter_groups(self, net: nn.Module, config: Config) -> list[dict[str, Any]]:
            still = {"params": list(net.encoder.parameters()), "lr_scale": 0.0}
            return [still, {"params": list(net.output.parameters())}]

    class Kept(Frozen):
        def initialise(self, net: nn.Module, state: Any, config: Config, vectors: Any) -> None:
            self.start = [p.clone() for p in net.encoder.parameters()]

    network = Kept()
    with_groups = run(network=network)
    kept = list(with_groups.net.encoder.parameters())
    assert all(a.equal(b) for a, b in zip(network.start, kept, strict=True))
    assert all(math.isfinite(report.values["lr"]) for report in with_groups.history)


def test_bf16_learns_too_and_leaves_fp32_weights() -> None:
    trained = run(config={"precision": "bf16", "epochs": 25, "patience": 25})
    assert trained.metrics["accuracy"] > 0.8
    assert {w.dtype for w in weights(trained)} == {torch.float32}
    assert not same(trained, run(config={"precision": "fp32", "epochs": 25, "patience": 25}))


def test_threads_are_set_on_purpose() -> None:
    run(config={"epochs": 1}, threads=2)
    assert torch.get_num_threads() == 2
    run(config={"epochs": 1})
    assert torch.get_num_threads() == 1


def _python_memory() -> Trained:
    raise MemoryError


def _torch_memory() -> Trained:
    torch.empty(1 << 50)
    raise AssertionError("a machine with petabytes")


@pytest.mark.parametrize("work", [_python_memory, _torch_memory])
def test_running_out_of_memory_says_what_would_fit(work: Callable[[], Trained]) -> None:
    with pytest.raises(TrainingError, match="batches of 64 steps") as caught:
        guarded(work, Config(batch_steps=64))
    assert caught.value.type == "out-of-memory"
    assert "`batch_steps` to 32" in caught.value.remedy


def test_another_fault_is_not_called_out_of_memory() -> None:
    def work() -> Trained:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        guarded(work, Config())


def test_the_answers_come_in_the_order_of_the_examples() -> None:
    trained = run()
    codec, examples = tiny.TinyCodec(), trained.examples["test"]
    held = TorchRun(trained.net, tiny.TinyNetwork())
    alone = [codec.predict(held, codec.collate([e]), None, trained.state)[0].score > 0 for e in examples]
    right = np.mean([said == example.answer for said, example in zip(alone, examples, strict=True)])
    assert trained.metrics["test_accuracy"] == pytest.approx(float(right))


def test_learning_that_a_constant_guess_equals_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny.TinyCodec, "guess", lambda _self, answers, _state: float(np.mean(answers)))
    dead, alive = Watch(), Watch()
    rows = [row for row in tiny.rows(80) if sum(row.values) > 0]
    run(dead, parts={"train": rows, "validation": rows[:20]}, config={"epochs": 4})
    run(alive, config={"epochs": 4, "lr": 0.03})
    said = [[text for level, text in watch.said if "nothing is learnt" in text] for watch in (dead, alive)]
    assert [text[:14] for text in said[0]] == ["after epoch 3 ", "after epoch 4 "]
    assert "the best accuracy is 1, no better than 1 for always giving the same answer" in said[0][0]
    assert said[1] == []


class Choosy(tiny.TinyCodec):  # type: ignore[misc]
    """Learns from long rows alone, and says so."""

    def examples(self, row: Any, state: Any, config: Any, part: Any) -> Any:
        return super().examples(row, state, config, part) if len(row.values) > 5 else iter(())

    def remarks(self, rows: Any, state: Any, config: Any) -> list[str]:
        return ["rows of 5 values teach nothing; give longer ones"]


def test_rows_that_teach_nothing_are_told_before_anything_is_learnt() -> None:
    watch, rows = Watch(), tiny.rows(80)
    short = sum(len(row.values) <= 5 for row in rows)
    assert 0 < short < 80
    run(watch, codec=Choosy(), parts={"train": rows, "validation": tiny.rows(30, seed=1)}, config={"epochs": 1})
    assert watch.said[:2] == [
        ("warning", "rows of 5 values teach nothing; give longer ones"),
        ("warning", f"{short} of 80 rows of train give no example and are left out"),
    ]
    with pytest.raises(TrainingError, match=r"none of the .* training rows gives an example; rows of 5") as caught:
        run(codec=Choosy(), parts={"train": [row for row in rows if len(row.values) <= 5]})
    assert caught.value.type == "bad-data"


def test_a_part_that_was_judged_before_goes_on_where_it_was() -> None:
    trained = run(config={"epochs": 1})
    judge = Judge(tiny.TinyCodec(), tiny.TinyNetwork(), trained.net, Config(batch_steps=1), "cpu")
    part = trained.examples["validation"] * 200
    whole = list(judge.judged(part, trained.state))
    assert len(whole) > 2
    rest = judge.judged(part, trained.state, skip=2)
    assert judge.scored(part, [*whole[:2], *rest]) == judge.evaluate(part, trained.state)


def test_who_watches_may_have_enough_after_an_epoch_and_the_best_of_them_is_kept() -> None:
    watch = Watch(enough_after=2)
    trained = run(watch)
    assert [report.epoch for report in trained.history] == [1, 2]
    assert watch.bests == [max(report.values["accuracy"] for report in watch.epochs[:end]) for end in (1, 2)]
    assert trained.metrics["validation_accuracy"] == pytest.approx(watch.bests[-1], abs=1e-6)
    assert ("info", "pruned: stopping after epoch 2") in watch.said
    assert trained.ended == "pruned"
    undisturbed = Watch()
    run(undisturbed)
    assert len(undisturbed.bests) == 3, "not after the last epoch"
