"""What each device can still hold, and how large a forward pass on it may be. Knows bytes, no version and no tensor."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
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

    def take(self, footprint: Callable[[str], Footprint], *, but: Collection[str] = ()) -> Place:
        """A place for a version, on the fastest kind of device with room and there on the one with the most.

        `footprint` says what the version takes on a device of an id; `but`: devices that will not do.
        Raises `NoRoom`.
        """
        found = [device for device in devices.inventory(self.probe) if device.id not in but]
        with self._lock:
            tried: list[NoRoom] = []
            for kind in dict.fromkeys(device.kind for device in found if self._is_wanted(device)):
                alike = [device for device in found if device.kind == kind and self._is_wanted(device)]
                taken = footprint(alike[0].id)
                try:
                    device = devices.place(alike, need=taken.rest, budget=self._for_rest, used=self._held)
                except NoRoom as error:
                    tried.append(error)
                    continue
                self._held[device.id] = self._held.get(device.id, 0) + taken.rest
                whole = device.memory_total if self.budget is None else self.budget
                longest = taken.steps(whole - taken.rest)
                return Place(device=device, rest=taken.rest, steps=self._steps(taken), longest=longest)
            raise tried[0] if tried else NoRoom(_nowhere(self.wanted, found, but))

    def give_back(self, place: Place) -> None:
        """A version has left its place."""
        with self._lock:
            self._held[place.device.id] -= place.rest

    def held(self) -> dict[str, int]:
        """Bytes that are kept for versions, by device."""
        with self._lock:
            return dict(self._held)

    def ever(self, footprint: Callable[[str], Footprint], *, but: Collection[str] = ()) -> bool:
        """Whether a version would find a place if it were the only one."""
        found = devices.inventory(self.probe)
        wanted = [device for device in found if self._is_wanted(device) and device.id not in but]
        rooms = [device.memory_total if self._for_rest is None else self._for_rest for device in wanted]
        return any(footprint(device.id).rest <= room for device, room in zip(wanted, rooms, strict=True))

    @property
    def _for_rest(self) -> int | None:
        return None if self.budget is None else self.budget - self.budget // SHARE

    def _steps(self, taken: Footprint) -> int | None:
        return None if self.budget is None else taken.steps(self.budget // SHARE // self.streams)

    def _is_wanted(self, device: Device) -> bool:
        return self.wanted in {"auto", device.id, device.kind}


def _nowhere(wanted: str, found: list[Device], but: Collection[str]) -> str:
    others = " other" if but else ""
    return f"there is no{others} device '{wanted}'; there are: {', '.join(device.id for device in found) or 'none'}"
