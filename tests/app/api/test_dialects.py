"""Errors under the addresses of other protocols have the shapes that their clients read."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.api.dialects import DIALECTS, sentence, spoken
from app.api.problems import responses
from app.errors import Flaw
from tests.app import served


@pytest.mark.parametrize("prefix", DIALECTS)
def test_every_prefix_says_what_no_route_answers_in_its_own_shape(client: TestClient, prefix: str) -> None:
    path = f"{prefix}/no/such/thing"
    answer = client.get(path)
    detail = f"nothing is at {path}"
    shapes = {"/compat/anomalydetector": {"code": "NotFound", "message": detail}, "/compat/timegpt": {"detail": detail}}
    assert answer.status_code == 404
    assert answer.json() == shapes.get(prefix, {"error": detail})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]


def test_what_is_refused_before_any_route_is_said_so_too(tmp_path: Path) -> None:
    with served.client(served.services(tmp_path / "home", max_json=2048)) as client:
        long = client.post("/v2/models/m/infer", content=b"x" * 4096)
        assert (long.status_code, long.json()) == (413, {"error": "the body may have 2048 bytes at most"})
        query = client.get("/hf/m?a=%00")
        assert (query.status_code, query.json()) == (400, {"error": "no query parameter has a NUL character"})


def test_a_prefix_is_whole_parts_of_an_address(client: TestClient) -> None:
    assert client.get("/v2").headers["content-type"] == "application/json"
    assert client.get("/v2x").headers["content-type"] == "application/problem+json"
    assert spoken("/v1/sentiment") is None


def test_a_sentence_holds_the_places() -> None:
    flaws = [Flaw(detail=f"it is {index}", pointer=f"/inputs/{index}") for index in range(7)]
    assert sentence("no", []) == "no"
    assert sentence("no", flaws[:2]) == "no: /inputs/0: it is 0; /inputs/1: it is 1"
    assert sentence("no", flaws).endswith("/inputs/4: it is 4; and 2 more")
    assert sentence("it is 0", flaws[:1]) == "/inputs/0: it is 0"


def test_the_document_shows_the_shape_of_the_prefix() -> None:
    shown = responses(404, under="/v2")
    assert 422 not in shown
    assert shown[404]["content"]["application/json"]["example"] == {"error": "no model 'reviews'"}
    assert responses(404)[422]["content"].keys() == {"application/problem+json"}
