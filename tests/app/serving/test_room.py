"""Places on machines made up: what fits, where, and how large a batch may then be."""

from __future__ import annotations

import pytest

from app.serving.room import SHARE, Room
from models.devices import Device, FakeProbe, NoRoom
from models.footprint import Footprint

MIB = 2**20


def device(id: str, *, free: int = 8000) -> Device:  # noqa: A002
    kind = id.partition(":")[0]
    return Device(id=id, kind=kind, name=id, memory_total=9000 * MIB, memory_free=free * MIB, precisions=("fp32",))


def takes(mib: int, *, step: float = 0.0, fixed: int = 0) -> Footprint:
    return Footprint(rest=mib * MIB, step=step, fixed=fixed)


def on(taken: Footprint) -> dict[str, Footprint]:
    """The same on every kind of device."""
    return {"cuda": taken, "cpu": taken}


MACHINE = FakeProbe([device("cpu"), device("cuda:0"), device("cuda:1", free=7000)])


def test_versions_spread_over_the_devices_of_the_fastest_kind_and_then_go_to_the_next() -> None:
    room = Room(budget=160 * MIB, probe=MACHINE)
    places = [room.take(on(takes(50))) for _ in range(6)]
    assert [place.device.id for place in places] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cpu", "cpu"]
    with pytest.raises(NoRoom, match="52428800 bytes are needed"):
        room.take(on(takes(50)))
    room.give_back(places[1])
    assert room.held()["cuda:1"] == 50 * MIB
    assert room.take(on(takes(50))).device.id == "cuda:1"


def test_what_a_version_takes_is_asked_for_each_kind_of_device() -> None:
    room = Room(budget=80 * MIB, probe=MACHINE)
    place = room.take({"cuda": takes(200), "cpu": takes(20)})
    assert (place.device.id, place.rest) == ("cpu", 20 * MIB)


def test_a_forward_pass_keeps_to_its_part_of_the_budget() -> None:
    room = Room(wanted="cpu", budget=SHARE * 4 * MIB, streams=2, probe=MACHINE)
    assert room.take(on(takes(1, step=1024, fixed=MIB))).steps == 1024, "2 MiB a stream, one of them fixed"
    assert room.take(on(takes(1))).steps is None, "nothing is known of its forward passes"
    assert Room(wanted="cpu", probe=MACHINE).take(on(takes(1, step=1e9))).steps is None, "there is no budget"


def test_an_item_is_too_long_when_nothing_else_could_run() -> None:
    room = Room(wanted="cpu", budget=SHARE * 4 * MIB, streams=2, probe=MACHINE)
    place = room.take(on(takes(20, step=1024)))
    assert (place.steps, place.longest) == (2048, 12 * 1024)
    assert Room(wanted="cpu", probe=MACHINE).take(on(takes(0, step=MIB))).longest == 9000


def test_copies_of_a_version_have_devices_of_their_own() -> None:
    room = Room(wanted="cuda", probe=MACHINE)
    first = room.take(on(takes(50)))
    second = room.take(on(takes(50)), but={first.device.id})
    assert {first.device.id, second.device.id} == {"cuda:0", "cuda:1"}
    with pytest.raises(NoRoom, match="there is no other device 'cuda'; there are: cpu"):
        room.take(on(takes(50)), but={"cuda:0", "cuda:1"})
    assert not room.ever(on(takes(50)), but={"cuda:0", "cuda:1"})


def test_what_never_fits_is_told_from_what_does_not_fit_now() -> None:
    room = Room(wanted="cpu", budget=80 * MIB, probe=MACHINE)
    room.take(on(takes(60)))
    with pytest.raises(NoRoom):
        room.take(on(takes(60)))
    assert room.ever(on(takes(60)))
    assert not room.ever(on(takes(71)))
    assert not Room(probe=MACHINE).ever(on(takes(9001))), "without a budget the machine is the bound"
    with pytest.raises(NoRoom, match=r"no device 'mps'; there are: cuda:0, cuda:1, cpu"):
        Room(wanted="mps", probe=MACHINE).take(on(takes(1)))
