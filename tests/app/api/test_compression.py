"""Large answers are gzip for those who take it, small ones and files are not; they say the same."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

SERIES = {"values": [float(step % 12) for step in range(60)]}


def asked(client: TestClient, inputs: int, accept: str) -> tuple[dict[str, str], dict]:
    answer = client.post(
        "/v1/forecasting", json={"inputs": [SERIES] * inputs, "model": "sales"}, headers={"Accept-Encoding": accept}
    )
    assert answer.status_code == 200
    return dict(answer.headers), answer.json()


def test_a_large_answer_is_gzip_for_those_who_take_it(client: TestClient) -> None:
    plain, said = asked(client, 200, "identity")
    assert int(plain["content-length"]) > 32 * 1024
    assert "content-encoding" not in plain
    small, again = asked(client, 200, "br, gzip;q=0.8")
    assert small["content-encoding"] == "gzip"
    assert small["vary"] == "Accept-Encoding"
    assert small["x-request-id"]
    assert int(small["content-length"]) < int(plain["content-length"]) / 2
    assert again == said


@pytest.mark.parametrize("accept", ["identity", "gzip;q=0", "deflate"])
def test_nobody_gets_what_they_do_not_take(client: TestClient, accept: str) -> None:
    assert "content-encoding" not in asked(client, 200, accept)[0]


def test_small_answers_and_files_are_sent_as_they_are(client: TestClient) -> None:
    assert "content-encoding" not in asked(client, 1, "gzip")[0]
    artifact = client.get("/v1/models/sales/versions/1/artifact", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in artifact.headers
    assert artifact.content.startswith(b"PK")
