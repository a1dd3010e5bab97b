"""A service with a small model of every task that another protocol asks for, made once for all tests of protocols."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.app import served
from tests.models.tasks.sounds import b64, songs


@pytest.fixture(scope="session")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version that translates English to Spanish, as well as it can."""
    return served.trained("translation", tmp_path_factory.mktemp("translator"), epochs=6, lr=0.01)


@pytest.fixture(scope="session")
def speaking(
    tmp_path_factory: pytest.TempPathFactory, archives: dict[str, Path], translator: Path
) -> Iterator[TestClient]:
    """The models `reviews`, `shapes`, `logs` (tokens), `people`, `en-es`, `tones`, `sales` and `meters`."""
    folder = tmp_path_factory.mktemp("protocols")
    sung = [
        {"audio": b64(row.audio.data), "phonemes": [each.model_dump() for each in row.phonemes or ()]}
        for row in songs(12)
        if row.audio
    ]
    logs = [{"tokens": ["open", word], "label": word} for word in ("read", "fail") for _ in range(8)]
    made = {
        "reviews": archives["sentiment"],
        "shapes": archives["sequences"],
        "logs": served.trained("sequences", folder, seed=2, rows=logs, epochs=8),
        "people": served.trained("ner", folder, epochs=10, lr=0.01),
        "en-es": translator,
        "tones": served.trained("phonemes", folder, rows=sung, epochs=5, speed=0.0, lr=0.01),
        "sales": archives["forecasting"],
        "meters": served.trained("anomaly", folder),
    }
    with served.client(served.services(folder / "home")) as client:
        for name, archive in made.items():
            imported = client.post(f"/v1/models/import?name={name}", content=archive.read_bytes())
            assert imported.status_code == 201, imported.text
        yield client
