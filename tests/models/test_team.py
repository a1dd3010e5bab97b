"""Two processes that share a training learn what one learns, within rounding; interrupted or not, bit for bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.models.test_trainer import run

CONFIG = {"epochs": 3, "lr": 0.01, "layers": 2}
MEMBER = """
import json, sys
from pathlib import Path
from safetensors.torch import save_file
from models.monitor import Stopped
from models.team import Processes
from tests.models.test_checkpoint import Shelf
from tests.models.test_trainer import Watch, run

rank, folder, config = int(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
team = Processes(rank=rank, size=2, meeting=f"file://{folder}/meeting", device="cpu")

def learn(name, dropout, stop=None):
    (folder / name).mkdir(exist_ok=True)
    watch = Watch(stop_after=stop if rank == 0 else None)
    trained = run(watch, config={**config, "dropout": dropout}, team=team, keeper=Shelf(folder / name))
    save_file(trained.net.state_dict(), folder / f"{name}.{rank}.safetensors")
    losses = [report.values["validation_loss"] for report in trained.history]
    (folder / f"{name}.{rank}.json").write_text(json.dumps(losses))

learn("plain", 0.0)
learn("whole", 0.3)
try:
    learn("cut", 0.3, stop=11)
    raise AssertionError("it was not stopped")
except Stopped:
    team.summed([0])  # the first has laid its checkpoint down before any of them looks for it
    learn("cut", 0.3)
team.close()
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes learnt: without dropout, with it, and with it and an interruption."""
    folder = tmp_path_factory.mktemp("team")
    command = [sys.executable, "-W", "ignore", "-c", MEMBER]
    members = [subprocess.Popen([*command, str(rank), str(folder), json.dumps(CONFIG)]) for rank in (0, 1)]
    assert [member.wait(110) for member in members] == [0, 0]
    return folder


def test_two_processes_reach_the_loss_of_one_within_rounding(shared: Path) -> None:
    alone = run(config=CONFIG)
    losses = json.loads((shared / "plain.0.json").read_text())
    assert losses == pytest.approx([report.values["validation_loss"] for report in alone.history], rel=1e-4)
    for name, tensor in load_file(shared / "plain.0.safetensors").items():
        torch.testing.assert_close(tensor, alone.net.state_dict()[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("one", "other"), [("plain.0", "plain.1"), ("whole.0", "whole.1"), ("whole.0", "cut.0")])
def test_every_process_holds_the_same_weights_interrupted_or_not(one: str, other: str, shared: Path) -> None:
    found, expected = (load_file(shared / f"{name}.safetensors") for name in (one, other))
    assert all(found[name].equal(expected[name]) for name in expected)


def test_dropout_is_drawn_anew_each_step(shared: Path) -> None:
    one, other = (load_file(shared / f"{name}.0.safetensors") for name in ("plain", "whole"))
    assert not all(one[name].equal(other[name]) for name in one)
