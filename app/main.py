"""The API's root: settings to services to application."""

from __future__ import annotations

from fastapi import FastAPI

from app import log, settings
from app.blobs import open_blobs
from app.clock import Clock, SystemClock
from app.db.engine import Database
from app.factory import Services, create_app
from app.metrics import Metrics
from app.services.answers import Answers
from app.services.datasets import Datasets
from app.services.feeds import Feeds
from app.services.jobs import Jobs
from app.services.keys import Keys, refuse_without_keys
from app.services.pictures import Pictures
from app.services.registry import Registry
from app.services.results import Results
from app.services.vectors import VectorFiles
from app.serving.inspections import Inspections
from app.serving.loaded import Loaded
from app.serving.predictions import Predictions
from app.serving.sessions import Sessions
from app.settings import Settings


def build(given: Settings, clock: Clock | None = None) -> Services:
    """The services of a configuration; `clock` tells when sessions end, by default the machine's."""
    database = Database(given.database)
    blobs = open_blobs(given.blob_store)
    registry = Registry(database, blobs, given)
    loaded = Loaded(registry, blobs, given)
    jobs = Jobs(database, settings=given)
    return Services(
        settings=given,
        database=database,
        blobs=blobs,
        datasets=Datasets(database, blobs, given),
        vectors=VectorFiles(database, blobs, given),
        jobs=jobs,
        feeds=Feeds(jobs),
        pictures=Pictures(jobs),
        results=Results(database, blobs),
        registry=registry,
        keys=Keys(database, given),
        answers=Answers(database),
        loaded=loaded,
        predictions=Predictions(loaded),
        sessions=Sessions(loaded, given, clock or SystemClock()),
        inspections=Inspections(loaded, seconds=given.request_seconds),
        metrics=Metrics(),
    )


def app() -> FastAPI:
    """What `uvicorn --factory app.main:app` serves. Raises `KeysNeeded` where a key must be made first."""
    given = settings.load()
    log.configure(given)
    services = build(given)
    refuse_without_keys(given, services.keys)
    return create_app(services)
