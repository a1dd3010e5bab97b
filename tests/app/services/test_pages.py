"""Page tokens: what was given comes back, anything else is a sentence."""

import base64
from datetime import UTC, datetime

import pytest

from app.errors import Invalid
from app.services.pages import decode, encode


def test_a_token_brings_its_place_back() -> None:
    moment = datetime(2026, 5, 4, 3, 2, 1, 987654, tzinfo=UTC)
    assert decode(encode(moment, "ds_1")) == (moment, "ds_1")
    assert decode("") is None


@pytest.mark.parametrize("text", ["", "x", "|ds_1", "2026-01-01|a\0b", "0001-01-01T00:00:00+14:00|a", "\ud800"])
def test_a_made_up_token_is_refused(text: str) -> None:
    token = base64.urlsafe_b64encode(text.encode(errors="surrogatepass")).decode() or "é"
    with pytest.raises(Invalid):
        decode(token)
