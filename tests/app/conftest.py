"""Versions trained once for every test of the service, and a service that holds them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.app import served


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Zips of tiny versions: one of each of three tasks, and a second one of two."""
    folder = tmp_path_factory.mktemp("versions")
    return {
        "sentiment": served.trained("sentiment", folder),
        "sentiment2": served.trained("sentiment", folder, seed=1),
        "forecasting": served.trained("forecasting", folder),
        "sequences": served.trained("sequences", folder),
        "forecasting2": served.trained("forecasting", folder, seed=1),
    }


@pytest.fixture
def client(tmp_path: Path, archives: dict[str, Path]) -> Iterator[TestClient]:
    """A service with the models `reviews` and `sales`."""
    services = served.services(tmp_path / "home")
    with served.client(services) as opened:
        for name, task in (("reviews", "sentiment"), ("sales", "forecasting")):
            made = opened.post(f"/v1/models/import?name={name}", content=archives[task].read_bytes())
            assert made.status_code == 201, made.text
        yield opened
