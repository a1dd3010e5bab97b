"""The devices of one worker, and what its trainings take of them. Knows devices and numbers, no job table and no torch.

A job that asks for nothing runs on the fastest kind there is; one that names a device, or the memory it needs,
runs where that is to be had, and waits for a worker that has it.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.db.repositories.jobs import Offer
from models import devices
from models.devices import Device, NoRoom, Probe


@dataclass(kw_only=True)
class Place:
    """What one training takes: its devices, a process on each, and the memory it asked for on the first."""

    devices: tuple[str, ...]
    memory: int


class Places:
    """Where the jobs of one worker run. Shared by its threads, of which one alone asks for offers and takes."""

    def __init__(self, wanted: str, *, probe: Probe | None = None) -> None:
        """`wanted`: a device, a kind, or `auto` for all there are. Raises `NoRoom` where there is none."""
        self.wanted, self.probe = wanted, probe
        self._taken: dict[str, Place] = {}
        self._found()

    def _found(self) -> list[Device]:
        seen = devices.inventory(self.probe)
        fitting = [device for device in seen if self.wanted in {"auto", device.id, device.kind}]
        if not fitting:
            raise NoRoom(f"no device '{self.wanted}'; there are: {', '.join(device.id for device in seen)}")
        return fitting

    def names(self) -> list[str]:
        """Every device that jobs may run on here, the fastest kind first."""
        return [device.id for device in self._found()]

    def offers(self) -> list[Offer]:
        """What can be had now: of the fastest kind first, and of a kind the device with the fewest jobs."""
        found = self._found()
        kinds = list(dict.fromkeys(device.kind for device in found))
        ranked = sorted(found, key=lambda device: (kinds.index(device.kind), self._users(device.id)))
        return [
            Offer(
                device=device.id,
                kind=device.kind,
                memory=min(device.memory_free, device.memory_total - self._promised(device.id)),
                general=device.kind == kinds[0],
            )
            for device in ranked
        ]

    def take(self, claim: str, device: str, *, memory: int) -> None:
        """A job runs on a device from now on, and may need so many bytes there."""
        self._taken[claim] = Place(devices=(device,), memory=memory)

    def spread(self, claim: str, processes: int) -> tuple[str, ...]:
        """Where each process of a job runs: the others on devices of the same kind, the idle ones first.

        Raises `NoRoom`.
        """
        place = self._taken[claim]
        idle_first = sorted(self._found(), key=lambda device: self._users(device.id))
        place.devices = tuple(devices.ranks(idle_first, place.devices[0], processes))
        return place.devices

    def leave(self, claim: str) -> None:
        """A job has ended."""
        del self._taken[claim]

    def _users(self, device: str) -> int:
        return sum(device in place.devices for place in list(self._taken.values()))

    def _promised(self, device: str) -> int:
        return sum(place.memory for place in list(self._taken.values()) if place.devices[0] == device)
