"""A running service answers what schemathesis makes of its own OpenAPI document as the document says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conforming import Found, conforming
from tests.service import running


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, archives: dict[str, Path]) -> Iterator[Found]:
    home = tmp_path_factory.mktemp("conforming")
    with running(home, CELLGATE_WORKERS="0", CELLGATE_LOG_LEVEL="error") as service:
        for name, task in (("reviews", "sentiment"), ("reviews", "sentiment2"), ("sales", "forecasting")):
            made = service.http.post(f"/v1/models/import?name={name}", content=archives[task].read_bytes())
            made.raise_for_status()
        yield conforming(service.url, each=4)


def test_every_answer_fits_the_document(found: Found) -> None:
    assert not found.faults, "\n\n".join(found.faults[:5])


def test_operations_are_reached_and_not_only_refused(found: Found) -> None:
    asked = {name for name, _ in found.statuses}
    assert len(asked) > 40
    assert len(found.shallow()) < len(asked) / 3, found.shallow()
