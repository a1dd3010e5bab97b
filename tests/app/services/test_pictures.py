"""Training histories as pictures: what is on them, when there is none, and how many are drawn at once."""

from __future__ import annotations

import re
import struct
from datetime import UTC, datetime

import pytest
from starlette.testclient import TestClient

from app.db.engine import Database
from app.factory import create_app
from app.jobs.queue import Queue
from app.main import build
from app.services.jobs import EventView
from app.services.pictures import IN_LINE, POINTS, Curves, History, draw, epochs
from app.settings import Settings
from tests.app.jobs.test_queue import add
from tests.offers import on_cpu


def history(n: int) -> History:
    """The loss falls; accuracy is best in the middle."""
    return [
        (
            epoch,
            {
                "train_loss": 1 / epoch,
                "validation_loss": 1.5 / epoch,
                "train_accuracy": epoch / n,
                "accuracy": 1 - abs(epoch - n / 2) / n,
            },
        )
        for epoch in range(1, n + 1)
    ]


def drawn(found: History, *, metric: str = "accuracy", higher: bool = True) -> str:
    """The picture as SVG, in which every text stands as a comment."""
    curves = Curves(title="reviews · sentiment · job_1", metric=metric, higher_is_better=higher, history=found)
    return draw(curves, "svg").decode()


def texts(svg: str) -> list[str]:
    return re.findall(r"<!-- (.+?) -->", svg)


def event(number: int, epoch: int, loss: float) -> EventView:
    data = {"epoch": epoch, "step": epoch, "values": {"validation_loss": loss}}
    return EventView(id=number, kind="metrics", at=datetime(2026, 1, 1, tzinfo=UTC), data=data)


def test_both_panels_are_named_and_the_kept_epoch_is_told() -> None:
    said = texts(drawn(history(10)))
    assert said.count("train") == said.count("validation") == 2
    assert "reviews · sentiment · job_1" in said
    assert {"loss, lower is better", "accuracy, higher is better", "kept: epoch 5, 1"} <= set(said)
    assert "kept: epoch 5, 0.3" in said, "its loss, though that of others is lower"


def test_a_metric_that_is_the_loss_is_drawn_once_and_a_lower_one_may_be_better() -> None:
    assert texts(drawn(history(4), metric="loss", higher=False)).count("train") == 1
    assert "accuracy, lower is better" in texts(drawn(history(4), higher=False))


def test_without_training_scores_there_is_no_such_line() -> None:
    found = [(epoch, {k: v for k, v in values.items() if k != "train_accuracy"}) for epoch, values in history(3)]
    assert texts(drawn(found)).count("train") == 1


def test_the_same_history_is_the_same_picture_and_a_long_one_is_thinned() -> None:
    assert drawn(history(20)) == drawn(history(20))
    longest = max(path.count("\nL ") for path in re.findall(r'd="(M[^"]+)"', drawn(history(5000))))
    assert longest < POINTS + 10


def test_an_attempt_begun_again_replaces_what_it_repeats() -> None:
    events = [event(1, 1, 3.0), event(2, 2, 2.0), event(3, 3, 1.0), event(4, 2, 9.0)]
    assert epochs(events) == [(1, {"validation_loss": 3.0}), (2, {"validation_loss": 9.0})]


def test_a_job_is_drawn_once_an_epoch_has_ended(database: Database, database_url: str, settings: Settings) -> None:
    services = build(settings.model_copy(update={"database_url": database_url}))
    add(database, "job_1")
    queue = Queue(database, worker="w", lease_seconds=30)
    with TestClient(create_app(services)) as client:
        assert client.get("/v1/jobs/job_0/plot.png").status_code == 404
        early = client.get("/v1/jobs/job_1/plot.svg")
        assert (early.status_code, early.headers["content-type"]) == (409, "application/problem+json")
        assert "no epoch has ended" in early.json()["detail"]
        claim = queue.claim(on_cpu)
        assert claim is not None
        for epoch, values in history(3):
            queue.tell(claim, "metrics", {"epoch": epoch, "step": epoch, "values": dict(values)})
        picture = client.get("/v1/jobs/job_1/plot.png")
        assert picture.headers["content-type"] == "image/png"
        width, height = struct.unpack(">II", picture.content[16:24])
        assert (width, height) == (1248, 507)
        assert client.get("/v1/jobs/job_1/plot.svg").headers["content-type"] == "image/svg+xml"
        assert client.get("/v1/jobs/job_1/plot.gif").status_code == 404
        for _ in range(IN_LINE):
            services.pictures._line.acquire(blocking=False)
        full = client.get("/v1/jobs/job_1/plot.png")
        assert (full.status_code, full.headers["retry-after"]) == (503, "2")


@pytest.mark.parametrize("form", ["png", "svg"])
def test_one_epoch_and_a_loss_of_zero_can_be_drawn(form: str) -> None:
    values = {"train_loss": 0.0, "validation_loss": 0.0, "accuracy": 1.0}
    curves = Curves(title="t", metric="accuracy", higher_is_better=True, history=[(1, values)])
    assert draw(curves, form)  # type: ignore[arg-type]
