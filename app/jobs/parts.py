"""What a worker works with, made from its settings. Knows the services by name, and asks them nothing."""

from __future__ import annotations

from dataclasses import dataclass

from app.blobs import Blobs, open_blobs
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

    @classmethod
    def of(cls, settings: Settings, *, executor: Executor, places: Places, name: str) -> Parts:
        """The parts of a worker of that name, on the database and the blob store that the settings say."""
        database, blobs = Database(settings.database), open_blobs(settings.blob_store)
        return cls(
            settings=settings,
            database=database,
            blobs=blobs,
            datasets=Datasets(database, blobs, settings),
            vectors=VectorFiles(database, blobs, settings),
            registry=Registry(database, blobs, settings),
            house=HouseKeeping(database, blobs, settings),
            executor=executor,
            places=places,
            name=name,
        )
