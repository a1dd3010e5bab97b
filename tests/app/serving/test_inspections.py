"""The gates over HTTP: what they say adds up, and what cannot be shown is a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.app import served


def gates(client: TestClient, body: dict[str, Any], ref: str = "reviews") -> Any:
    return client.post(f"/v1/models/{ref}/gates", json=body)


def test_the_gates_of_a_sentence(client: TestClient) -> None:
    answer = gates(client, {"input": "I loved this movie!"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["steps"] == ["i", "loved", "this", "movie", "!"]
    assert [layer["direction"] for layer in found["layers"]] == ["forward", "backward"]
    for layer in found["layers"]:
        arrays = {name: np.array(values) for name, values in layer["gates"].items()}
        assert list(arrays) == ["input", "forget", "cell", "output"]
        assert {array.shape for array in arrays.values()} == {(5, 8)}
        memory, hidden = np.array(layer["memory"]), np.array(layer["hidden"])
        np.testing.assert_allclose(hidden, arrays["output"] * np.tanh(memory), atol=1e-5)
        order = slice(None) if layer["direction"] == "forward" else slice(None, None, -1)
        kept = {name: array[order] for name, array in arrays.items()}
        expected = np.zeros(8)
        for step, held in enumerate(memory[order]):
            expected = kept["forget"][step] * expected + kept["input"][step] * kept["cell"][step]
            np.testing.assert_allclose(held, expected, atol=1e-4)
    forget = np.concatenate([np.ravel(layer["gates"]["forget"]) for layer in found["layers"]])
    assert found["saturation"]["forget"]["right"] == pytest.approx((forget > 0.9).mean())
    first = np.array(found["layers"][0]["gates"]["forget"])
    halves = np.log(0.5) / np.log(first).mean(axis=0)
    assert found["memory_half_life"] == pytest.approx(halves.tolist(), rel=1e-2)


def test_what_cannot_be_read_is_told(client: TestClient) -> None:
    assert gates(client, {"input": "fine"}, "nobody").status_code == 404
    wrong = gates(client, {"input": {"text": ""}})
    assert wrong.status_code == 422
    assert "/input/text" in [flaw["pointer"] for flaw in wrong.json()["errors"]]
    assert gates(client, {}).json()["errors"][0]["pointer"] == "/input"


def test_a_broken_version_is_no_fault_of_the_service(tmp_path: Path, archives: dict[str, Path]) -> None:
    home = tmp_path / "home"
    with served.client(served.services(home)) as client:
        client.post("/v1/models/import?name=reviews", content=archives["sentiment"].read_bytes())
        assert gates(client, {"input": "fine"}, "reviews:1").status_code == 200
        (weights,) = (home / "cache").glob("*/weights.safetensors")
        weights.write_bytes(b"damaged")
        assert gates(client, {"input": "fine"}, "reviews:1").status_code == 503
