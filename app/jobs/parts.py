"""What a worker works with. Knows the services by name, and does nothing with them."""

from __future__ import annotations

from dataclasses import dataclass

from app.blobs import Blobs
from app.db.engine import Database
from app.jobs.executors import Executor
from app.jobs.places import Places
from app.services.datasets import Datasets
from app.services.housekeeping import HouseKeeping
from app.services.registry import Registry
from app.services.vectors import VectorFiles
from app.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The services of one worker, its executor and its devices."""

    settings: Settings
    database: Database
    blobs: Blobs
    datasets: Datasets
    vectors: VectorFiles
    registry: Registry
    house: HouseKeeping
    executor: Executor
    places: Places
    name: str
