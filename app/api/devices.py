"""The devices of this machine over HTTP."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from app.api.deps import READING, Use
from app.api.problems import responses
from models import devices as inventories

router = APIRouter(prefix="/v1/devices", tags=["operations"])


class DeviceView(BaseModel):
    """One place where arithmetic can run; memory in bytes."""

    id: str
    kind: str
    name: str
    memory_total: int
    memory_free: int
    models: list[str]
    precision: str


class Devices(BaseModel):
    items: list[DeviceView]


@router.get("", responses=responses(), dependencies=[READING])
def devices(use: Use) -> Devices:
    """What accelerators there are, their memory, and what they hold."""
    held = [
        (device, f"{served.version.model}:{served.version.version}")
        for served in use.loaded.held()
        for device in served.devices
    ]
    return Devices(
        items=[
            DeviceView(
                id=device.id,
                kind=device.kind,
                name=device.name,
                memory_total=device.memory_total,
                memory_free=device.memory_free,
                models=[name for place, name in held if place == device.id],
                precision=device.precision,
            )
            for device in inventories.inventory()
        ]
    )
