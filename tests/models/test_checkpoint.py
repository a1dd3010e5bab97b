"""A training that was interrupted, wherever that was, ends with the weights of one that was not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from models import checkpoint, trainer
from models.batch import batches
from models.checkpoint import Checkpoint, CheckpointError
from models.monitor import Stopped, TrainingError
from models.warm import Warm
from tests.models.test_trainer import Watch, run, same, tiny

CONFIG = {"epochs": 3, "dropout": 0.3, "layers": 2}


class Shelf:
    """Keeps checkpoints as files, as a worker does."""

    def __init__(self, folder: Path) -> None:
        self.path, self.kept, self.places = folder / "latest.safetensors", 0, list[tuple[int, int]]()

    def latest(self) -> Checkpoint | None:
        return checkpoint.load(self.path) if self.path.exists() else None

    def resumed(self, *, epoch: int, step: int) -> None:
        self.places.append((epoch, step))

    def keep(self, checkpoint: Checkpoint) -> None:
        self.kept += 1
        checkpoint.save(self.path)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint at every chance, however dear."""
    monkeypatch.setattr(trainer, "KEEP_SHARE", 1e9)


@pytest.mark.parametrize("batches", [0, 1, 7, 16, 17, 40])
def test_resumed_anywhere_it_ends_with_the_same_weights(batches: int, tmp_path: Path) -> None:
    whole, shelf = run(config=CONFIG), Shelf(tmp_path)
    with pytest.raises(Stopped):
        run(Watch(stop_after=batches), config=CONFIG, keeper=shelf)
    torch.manual_seed(99)  # whatever another process did in between
    watch = Watch()
    resumed = run(watch, config=CONFIG, keeper=shelf)
    assert shelf.places[0][1] == batches
    assert same(resumed, whole)
    assert resumed.metrics == whole.metrics
    timed = {"examples_per_second"}
    told = [
        [{name: value for name, value in report.values.items() if name not in timed} for report in history]
        for history in (resumed.history, whole.history)
    ]
    assert told[0] == told[1]


@pytest.mark.parametrize("batches", [0, 1, 16, 33])
def test_a_warm_start_resumed_anywhere_ends_with_the_same_weights(batches: int, tmp_path: Path) -> None:
    old = run(config=CONFIG | {"seed": 5})
    warm = Warm(name="old:1", state=old.state, tensors=old.net.state_dict())
    whole, shelf = run(config=CONFIG, warm=warm), Shelf(tmp_path)
    with pytest.raises(Stopped):
        run(Watch(stop_after=batches), config=CONFIG, keeper=shelf, warm=warm)
    torch.manual_seed(99)
    resumed = run(config=CONFIG, keeper=shelf, warm=warm)
    assert shelf.places[0][1] == batches
    assert same(resumed, whole)
    assert not same(whole, run(config=CONFIG)), "it began elsewhere"
    assert [report.epoch for report in resumed.history] == [0, 1, 2, 3]


def test_interrupted_after_every_batch_it_still_ends_the_same(tmp_path: Path) -> None:
    whole, shelf = run(config=CONFIG), Shelf(tmp_path)
    for _ in range(200):
        try:
            resumed = run(Watch(stop_after=1), config=CONFIG, keeper=shelf)
            break
        except Stopped:
            continue
    assert same(resumed, whole)
    assert len(shelf.places) > 40


def test_early_stopping_is_decided_the_same_after_a_resumption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "LEAST_STEPS", 1)
    config = {"epochs": 9, "patience": 1, "lr": 1e-12}
    whole, shelf = run(config=config), Shelf(tmp_path)
    run(config=config, keeper=shelf)
    again = run(config=config, keeper=shelf)  # from the checkpoint of its last epoch
    assert len(whole.history) == len(again.history) < 9
    assert same(again, whole)


def test_a_checkpoint_of_another_network_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    run(config=CONFIG, keeper=shelf)
    with pytest.raises(CheckpointError, match="not of this network"):
        run(config=CONFIG | {"hidden": 5}, keeper=shelf)
    shelf.path.write_bytes(shelf.path.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        run(config=CONFIG, keeper=shelf)


def test_checkpoints_take_no_more_than_their_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "KEEP_SHARE", 1e-9)
    shelf = Shelf(tmp_path)
    run(config=CONFIG, keeper=shelf)
    assert shelf.kept == 1


class Cramped(tiny.TinyNetwork):  # type: ignore[misc]
    """A machine whose memory holds so many examples of a batch."""

    def __init__(self, most: int) -> None:
        self.most = most

    def loss(self, net: Any, batch: Any) -> Any:
        if net.training and len(batch.arrays["lengths"]) > self.most:
            raise torch.OutOfMemoryError("made up")
        return super().loss(net, batch)


def test_memory_that_runs_out_halves_the_batch_once_and_learns_the_same() -> None:
    config = {"epochs": 2, "dropout": 0.0}
    largest = max(len(chosen) for chosen in batches([9] * 120, steps=60))
    watch = Watch()
    parts = {"train": [row for row in tiny.rows(600) if len(row.values) == 9][:32], "validation": tiny.rows(20, seed=1)}
    roomy = run(config=config | {"batch_steps": 90}, parts=parts)
    cramped = run(watch, network=Cramped(1), config=config | {"batch_steps": 90}, parts=parts)
    assert largest > 1
    assert sum("in two halves" in text for _, text in watch.said) == 1
    for one, other in zip(roomy.net.state_dict().values(), cramped.net.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_memory_that_does_not_hold_a_half_fails_with_what_would_fit() -> None:
    parts = {"train": tiny.rows(400), "validation": tiny.rows(20, seed=1)}
    with pytest.raises(TrainingError) as caught:
        run(network=Cramped(3), config={"epochs": 2}, parts=parts)
    assert caught.value.type == "out-of-memory"
    assert "which would fit" in caught.value.remedy
