"""Pages of a list, newest first: where one ends and the next begins. Knows moments and ids, no table."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from app.errors import Flaw, Invalid

ItemT = TypeVar("ItemT")
RowT = TypeVar("RowT")
Cursor = tuple[datetime, str]


class Page(BaseModel, Generic[ItemT]):
    """Some items, and the token of those that follow ("" at the end)."""

    model_config = ConfigDict(frozen=True)

    items: list[ItemT]
    next_page_token: str


def encode(created_at: datetime, id: str) -> str:  # noqa: A002  the wire's own word
    """The token of the page after an item."""
    return base64.urlsafe_b64encode(f"{created_at.isoformat()}|{id}".encode()).decode().rstrip("=")


def decode(token: str) -> Cursor | None:
    """Where a page begins; None for the first. Raises `Invalid`."""
    if not token:
        return None
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
        moment, _, last = text.partition("|")
        if not last.isprintable():
            raise ValueError("no id")
        return datetime.fromisoformat(moment).astimezone(UTC), last
    except (ValueError, OverflowError, binascii.Error):
        flaw = Flaw(detail="not a token that this service gave", pointer="/page_token")
        raise Invalid("the page_token is not one that this service gave", errors=[flaw]) from None


def page(rows: Sequence[RowT], size: int, view: Callable[[RowT], ItemT], key: Callable[[RowT], Cursor]) -> Page[ItemT]:
    """A page of rows that were fetched with one more than `size`."""
    shown = rows[:size]
    token = encode(*key(shown[-1])) if len(rows) > size else ""
    return Page(items=[view(row) for row in shown], next_page_token=token)
