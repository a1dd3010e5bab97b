"""Learning anew from both parts: what is learnt, what is still judged, and when it does not happen."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from models import trainer
from models.judge import Judge
from models.learner import Learner
from models.monitor import Stopped
from models.task import Config
from models.team import Alone
from models.warm import Warm
from tests.models.test_checkpoint import Shelf
from tests.models.test_trainer import Watch, run, same, tiny

SETTINGS = {"hidden": 8, "epochs": 4, "dropout": 0.3, "lr": 0.01}
CONFIG = SETTINGS | {"refit": True}


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint at every chance, however dear."""
    monkeypatch.setattr(trainer, "KEEP_SHARE", 1e9)


def test_both_parts_are_learnt_from_as_long_as_was_best_and_the_first_fit_is_what_validation_judged() -> None:
    watch = Watch()
    plain, anew = run(config=SETTINGS), run(watch, config=CONFIG)
    last = int(anew.metrics["refit_epochs"])
    accuracies = [report.values["accuracy"] for report in plain.history]
    assert accuracies[last - 1] == max(accuracies)
    judged = [name for name in plain.metrics if name.startswith("validation")]
    assert {name: anew.metrics[name] for name in judged} == {name: plain.metrics[name] for name in judged}
    assert [report.values["accuracy"] for report in watch.epochs] == accuracies
    assert anew.metrics["test_loss"] != plain.metrics["test_loss"]
    assert anew.metrics["accuracy"] == anew.metrics["test_accuracy"]

    config = Config(**CONFIG)
    torch.manual_seed(config.seed)
    net = tiny.TinyNetwork().build(anew.state, config)
    torch.manual_seed(config.seed)
    judge = Judge(tiny.TinyCodec(), tiny.TinyNetwork(), net, config, "cpu")
    learner = Learner(judge, Alone(), watch.log, [*anew.examples["train"], *anew.examples["validation"]])
    for _ in range(last):
        for chosen in learner.rest():
            learner.learn(chosen)
        learner.under_way = None
    assert all(a.equal(b) for a, b in zip(net.state_dict().values(), anew.net.state_dict().values(), strict=True))


def test_its_progress_goes_on_to_the_end() -> None:
    watch = Watch()
    run(watch, config=CONFIG)
    fractions = [progress.fraction for progress in watch.seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert any(0 < fraction <= 0.5 for fraction in fractions)
    assert any("learning anew from 160 examples" in text for _, text in watch.said)


@pytest.mark.parametrize("after", [-30, 0, 1, 16, 25])
@pytest.mark.usefixtures("often")
def test_resumed_anywhere_it_ends_with_the_same_weights(after: int, tmp_path: Path) -> None:
    whole, shelf = run(config=CONFIG), Shelf(tmp_path)
    first = whole.history[-1].step
    with pytest.raises(Stopped):
        run(Watch(stop_after=first + after), config=CONFIG, keeper=shelf)
    torch.manual_seed(99)  # whatever another process did in between
    resumed = run(config=CONFIG, keeper=shelf)
    assert shelf.places[0][1] == (first + after if after < 0 else after), "steps are counted anew"
    assert same(resumed, whole)
    assert resumed.metrics == whole.metrics
    assert resumed.ended == whole.ended


def test_time_that_is_up_leaves_what_the_training_part_taught(monkeypatch: pytest.MonkeyPatch) -> None:
    offset = [0.0]
    monkeypatch.setattr(trainer, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + offset[0]))

    class Late(Watch):
        def log(self, text: str, level: str = "info") -> None:
            super().log(text, level)
            offset[0] = 1e6 * text.startswith("learning anew")

    watch = Late()
    plain, late = run(config=SETTINGS), run(watch, config=CONFIG, max_seconds=1e4)
    assert same(plain, late)
    assert late.metrics == plain.metrics
    assert late.ended == "max_seconds"
    assert any(text.startswith("the time is up") for _, text in watch.said)


def test_where_nothing_more_can_be_learnt_it_is_told() -> None:
    watch = Watch()
    run(watch, config=CONFIG, parts={"train": tiny.rows(60), "validation": [], "test": []})
    assert ("warning", "not learnt anew from the validation part as well: there is none") in watch.said

    old = run(config=SETTINGS | {"epochs": 12, "dropout": 0.0})
    watch, warm = Watch(), Warm(name="old:1", state=old.state, tensors=old.net.state_dict())
    worse = run(watch, config=CONFIG | {"epochs": 1, "lr": 0.9}, warm=warm)
    assert "refit_epochs" not in worse.metrics
    assert any("no epoch was better than the weights it began with" in text for _, text in watch.said)
    assert same(worse, old)
