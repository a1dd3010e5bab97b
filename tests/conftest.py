"""What every test may ask for: a database of its own, on SQLite and on a real Postgres. Knows no task."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything loads a library that reads them
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import torch

from app.db.engine import Database
from app.db.migrate import upgrade
from app.settings import Settings
from tests.postgres import cluster
from tests.s3 import Store, serving

torch.set_num_threads(1)

TEMPLATE = "migrated"
_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[str], str]]:
    """A running cluster, one for each process of the suite; call it with a database's name for the URL."""
    with cluster() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_template(postgres: Callable[[str], str]) -> str:
    """A migrated database to copy from."""
    _create(postgres, TEMPLATE)
    _migrate(postgres(TEMPLATE))
    return TEMPLATE


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database to copy from."""
    file = tmp_path_factory.mktemp("template") / "template.db"
    _migrate(f"sqlite:///{file}")
    return file


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without tables, on each engine."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    postgres = request.getfixturevalue("postgres")
    return postgres(_create(postgres, f"empty_{next(_numbers)}"))


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a migrated database of the test's own, on each engine."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        return f"sqlite:///{shutil.copy(template, tmp_path / 'cellgate.db')}"
    postgres = request.getfixturevalue("postgres")
    template_name: str = request.getfixturevalue("postgres_template")
    return postgres(_create(postgres, f"test_{next(_numbers)}", template_name))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated database of the test's own, on each engine."""
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Store]:
    """A running S3 server, one for each process of the suite."""
    with serving() as store:
        yield store


@pytest.fixture
def s3(s3_server: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The server, and this process knows of it."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a home of the test's own."""
    return Settings(home=tmp_path, device="cpu", poll_seconds=0.05, log_format="json", log_level="warning")


def _create(postgres: Callable[[str], str], name: str, template: str = "template1") -> str:
    with psycopg.connect(postgres("postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')  # names of ours alone
    return name


def _migrate(url: str) -> None:
    database = Database(url)
    upgrade(database)
    database.close()
