"""What each device can still hold, and how large a forward pass on it may be. Knows bytes, no version and no tensor."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from models import devices
from models.devices import Device, NoRoom, Probe
from models.footprint import Footprint

SHARE = 8
"""Of a device's budget one in so many bytes is left for forward passes, the rest for what versions hold at rest."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A version's place on a device."""

    device: Device
    rest: int
    """Bytes that are kept for it."""
    steps: int | None = None
    """Padded steps of a batch at most; an item that is longer than that alone goes alone. None: any."""
    longest: int | None = None
    """Steps of an item at most: longer ones would not fit though nothing else ran. None: any."""


class Room:
    """Hands out places. Versions are loaded by several threads: it may be asked by any of them."""

    def __init__(
        self, *, wanted: str = "auto", budget: int | None = None, streams: int = 1, probe: Probe | None = None
    ) -> None:
        """`wanted`: an id or a kind of device, or "auto"; `budget`: bytes on each device; `streams`: forward passes
        that may run at a time."""
        self.wanted, self.budget, self.streams, self.probe = wanted, budget, streams, probe
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def usable(self) -> int:
        """How many devices will do."""
        return len(self._wanted(()))

    def kinds(self, *, but: Collection[str] = ()) -> dict[str, str]:
        """The kinds of devices that will do, the fastest first, and one of each; `but`: devices that will not."""
        found: dict[str, str] = {}
        for device in self._wanted(but):
            found.setdefault(device.kind, device.id)
        return found

    def take(self, footprints: Mapping[str, Footprint], *, but: Collection[str] = ()) -> Place:
        """A place for a version, on the fastest kind of device with room and there on the one with the most.

        `footprints` says what the version takes on each of `kinds`. Raises `NoRoom`.
        """
        found = self._wanted(but)
        with self._lock:
            tried: list[NoRoom] = []
            for kind, taken in footprints.items():
                alike = [device for device in found if device.kind == kind]
                if not alike:
                    continue
                try:
                    device = devices.place(alike, need=taken.rest, budget=self._for_rest, used=self._held)
                except NoRoom as error:
                    tried.append(error)
                    continue
                self._held[device.id] = self._held.get(device.id, 0) + taken.rest
                whole = device.memory_total if self.budget is None else self.budget
                longest = taken.steps(whole - taken.rest)
                return Place(device=device, rest=taken.rest, steps=self._steps(taken), longest=longest)
            raise tried[0] if tried else NoRoom(self._nowhere(but))

    def give_back(self, place: Place) -> None:
        """A version has left its place."""
        with self._lock:
            self._held[place.device.id] -= place.rest

    def held(self) -> dict[str, int]:
        """Bytes that are kept for versions, by device."""
        with self._lock:
            return dict(self._held)

    def ever(self, footprints: Mapping[str, Footprint], *, but: Collection[str] = ()) -> bool:
        """Whether a version would find a place if it were the only one."""
        return any(
            footprints[device.kind].rest <= (device.memory_total if self._for_rest is None else self._for_rest)
            for device in self._wanted(but)
            if device.kind in footprints
        )

    @property
    def _for_rest(self) -> int | None:
        return None if self.budget is None else self.budget - self.budget // SHARE

    def _steps(self, taken: Footprint) -> int | None:
        return None if self.budget is None else taken.steps(self.budget // SHARE // self.streams)

    def _wanted(self, but: Collection[str]) -> list[Device]:
        found = devices.inventory(self.probe)
        return [device for device in found if self.wanted in {"auto", device.id, device.kind} and device.id not in but]

    def _nowhere(self, but: Collection[str]) -> str:
        there = ", ".join(device.id for device in devices.inventory(self.probe) if device.id not in but)
        return f"there is no{' other' if but else ''} device '{self.wanted}'; there are: {there or 'none'}"
