"""Makes the application from its services. Knows routes and error pages; builds nothing itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app.api import datasets, devices, health, inspect, jobs, lean, models, predict, problems, sessions, tasks, vectors
from app.api.document import describe
from app.api.middleware import Middleware
from app.api.protocols import anomalydetector, huggingface, libretranslate, timegpt
from app.api.protocols.oip import inference, repository
from app.blobs import Blobs
from app.db.engine import Database
from app.metrics import Metrics
from app.services.answers import Answers
from app.services.datasets import Datasets
from app.services.feeds import Feeds
from app.services.jobs import Jobs
from app.services.keys import Keys
from app.services.pictures import Pictures
from app.services.registry import Registry
from app.services.results import Results
from app.services.vectors import VectorFiles
from app.serving.inspections import Inspections
from app.serving.predictions import Predictions
from app.serving.sessions import Sessions
from app.settings import Settings

if TYPE_CHECKING:
    from app.serving.loaded import Loaded

DESCRIPTION = """Trains and serves recurrent sequence models.

1. `POST /v1/datasets` a file
2. `POST /v1/jobs` a training
3. watch `GET /v1/jobs/{id}/events`
4. call the task's own route"""
NO_TELEMETRY = {"tracing": False, "metrics": False, "logs": False}
"""FastAPI asks OpenTelemetry for providers in every request; `/metrics` and the log are this service's own."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything that routes use."""

    settings: Settings
    database: Database
    blobs: Blobs
    datasets: Datasets
    vectors: VectorFiles
    jobs: Jobs
    feeds: Feeds
    pictures: Pictures
    results: Results
    registry: Registry
    keys: Keys
    answers: Answers
    loaded: Loaded
    predictions: Predictions
    sessions: Sessions
    inspections: Inspections
    metrics: Metrics
    version: str = version("cellgate")

    def checks(self) -> dict[str, str]:
        """What readiness rests on, each "ok" or a reason."""
        found = {}
        asked: dict[str, Callable[[], object]] = {
            "database": self.registry.pointers,
            "blobs": partial(self.blobs.exists, "0" * 64),
        }
        for name, check in asked.items():
            try:
                check()
                found[name] = "ok"
            except Exception as error:
                found[name] = type(error).__name__
        failing = self.loaded.failing()
        found["models"] = f"cannot be loaded: {', '.join(failing)}" if failing else "ok"
        return found


def create_app(services: Services) -> FastAPI:
    """The application, ready to be served."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await services.loaded.start()
        yield
        await services.feeds.close()
        await services.sessions.close()
        services.predictions.close()
        await services.loaded.close()
        services.database.close()

    offline: Callable[..., FastAPI] = FastAPIOffline  # the docs page brings its own assets: no CDN
    app = offline(
        title="Cellgate", version=services.version, description=DESCRIPTION, lifespan=lifespan, telemetry=NO_TELEMETRY
    )
    app.state.services = services
    problems.install(app)
    predicting = predict.router()
    for router in (  # looked through in order: what is asked most comes first
        predicting,
        repository.router(),
        inference.router(),
        sessions.router(),
        datasets.router,
        jobs.router,
        models.router,
        inspect.router,
        tasks.router,
        vectors.router,
        devices.router,
        health.router,
        huggingface.router,
        libretranslate.router(),
        timegpt.router,
        anomalydetector.router,
    ):
        app.include_router(router)
    app.add_middleware(Middleware, services=services, direct=lean.direct(predicting))
    describe(app)
    return app
