"""What was asked of a job holds, however its work ends. Knows the queue, no process."""

from __future__ import annotations

import pytest

from app.db.engine import Database
from app.jobs.queue import DEATHS, Claim
from app.services.jobs import Jobs
from app.settings import Settings
from tests.app.jobs.test_queue import add, claimed, queue
from tests.offers import on_cpu

ENDS = {
    "handed back": lambda held, claim: held.hand_back(claim, "the worker ended"),
    "died": lambda held, claim: held.died(claim, "SIGKILL"),
}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize(("verb", "end"), [("cancel", "cancelled"), ("pause", "paused")])
def test_a_job_that_was_to_stop_is_not_begun_again(
    database: Database, settings: Settings, how: str, verb: str, end: str
) -> None:
    add(database, "job")
    claim: Claim = claimed(database)
    jobs = Jobs(database, settings=settings)
    getattr(jobs, verb)("job")
    ENDS[how](queue(database), claim)
    assert jobs.get("job").state == end
    assert queue(database).claim(on_cpu) is None


def test_a_child_that_dies_waits_before_it_is_begun_again(database: Database, settings: Settings) -> None:
    add(database, "job")
    queue(database).died(claimed(database), "SIGKILL")
    view = Jobs(database, settings=settings).get("job")
    assert view.state == "queued"
    assert view.attempt == 1 < DEATHS
    assert queue(database).claim(on_cpu) is None
