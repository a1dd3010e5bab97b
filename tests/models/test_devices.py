"""Placement on machines made up, and an honest look at this one."""

from __future__ import annotations

import pytest

from models.devices import Device, FakeProbe, NoRoom, inventory, place, ranks

GIB = 1024**3


def device(id: str, *, free: int = 8, precisions: tuple[str, ...] = ("fp32", "bf16")) -> Device:  # noqa: A002
    return Device(
        id=id,
        kind=id.partition(":")[0],
        name=id,
        memory_total=16 * GIB,
        memory_free=free * GIB,
        precisions=precisions,
    )


MACHINE = [device("cpu", free=12), device("cuda:1", free=6), device("cuda:0", free=2)]


def test_this_machine_has_a_cpu_with_memory_and_it_comes_last() -> None:
    found = inventory()
    assert found[-1].id == "cpu"
    assert 0 < found[-1].memory_free <= found[-1].memory_total


def test_the_fastest_kind_comes_first() -> None:
    assert [found.id for found in inventory(FakeProbe(MACHINE))] == ["cuda:0", "cuda:1", "cpu"]


@pytest.mark.parametrize(
    ("wanted", "need", "chosen"),
    [
        ("auto", 1, "cuda:1"),
        ("auto", 7, "cpu"),
        ("cuda", 3, "cuda:1"),
        ("cuda:0", 1, "cuda:0"),
        ("cpu", 1, "cpu"),
    ],
)
def test_a_model_goes_where_there_is_most_room_of_the_fastest_kind(wanted: str, need: int, chosen: str) -> None:
    assert place(inventory(FakeProbe(MACHINE)), wanted=wanted, need=need * GIB, used={}).id == chosen


def test_a_budget_counts_what_is_held_already() -> None:
    machine = inventory(FakeProbe(MACHINE))
    used = {"cuda:1": 3 * GIB}
    assert place(machine, wanted="cuda", need=2 * GIB, budget=4 * GIB, used=used).id == "cuda:0"
    assert place(machine, wanted="auto", need=3 * GIB, budget=4 * GIB, used=used).id == "cpu"


def test_no_room_and_no_such_device_are_sentences() -> None:
    with pytest.raises(NoRoom, match=r"107374182400 bytes are needed, .* are free on cpu"):
        place(MACHINE, wanted="auto", need=100 * GIB, used={})
    with pytest.raises(NoRoom, match=r"no device 'mps'; there are: cpu, cuda:1, cuda:0"):
        place(MACHINE, wanted="mps", need=1, used={})


def test_training_takes_bf16_where_the_hardware_multiplies_it() -> None:
    assert device("cuda:0").precision == "bf16"
    assert device("cuda:0", precisions=("fp32", "fp16")).precision == "fp32"
    assert device("cpu").precision == "fp32"


def test_processes_of_one_training_get_a_gpu_each_or_share_the_cpu() -> None:
    machine = inventory(FakeProbe(MACHINE))
    assert ranks(machine, "cpu", 3) == ["cpu", "cpu", "cpu"]
    assert ranks(machine, "cuda:1", 1) == ["cuda:1"]
    assert ranks(machine, "cuda:1", 2) == ["cuda:1", "cuda:0"]
    with pytest.raises(NoRoom, match="3 processes need a device each; there are 2 of the kind 'cuda'"):
        ranks(machine, "cuda:1", 3)
