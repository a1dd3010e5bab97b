"""Use cases of API keys: make, list, revoke, check. A key is shown once and kept as a hash.

A key reads ``cg_<id>_<secret>``; the secret has 256 random bits, so that one round of SHA-256 is enough.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.db.engine import Database
from app.db.repositories.keys import KeyRepository
from app.db.tables import Key
from app.errors import Forbidden, NotFound, Unauthenticated
from app.settings import Settings

SCOPES = ("predict", "train", "admin")
REMEMBERED = 5.0
"""Seconds for which a key once checked is not looked up again; a revoked one ends within them."""


class KeysNeeded(Exception):
    """The service would listen to others without a key; a sentence for the operator."""


@dataclass(frozen=True, kw_only=True)
class KeyView:
    """A key without its secret."""

    id: str
    name: str
    scopes: list[str]
    created_at: datetime
    revoked_at: datetime | None


class Keys:
    """The keys of a database."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database, self.settings = database, settings
        self._checked: dict[tuple[str, str], tuple[float, list[str]]] = {}
        self._any: tuple[float, bool] = (0.0, False)

    def create(self, name: str, scopes: Sequence[str]) -> str:
        """A new key, in the clear; it cannot be shown again."""
        unknown = [scope for scope in scopes if scope not in SCOPES]
        if unknown or not scopes:
            raise ValueError(f"unknown scope '{', '.join(unknown)}'; known: {', '.join(SCOPES)}")
        id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)  # noqa: A001
        with self.database.write() as session:
            now = self.database.now(session)
            KeyRepository(session).add(
                Key(id=id, name=name, hash=_hash(secret), scopes=sorted(set(scopes)), created_at=now)
            )
        self._any = (0.0, False)
        return f"cg_{id}_{secret}"

    def list(self) -> Sequence[KeyView]:
        """Every key, revoked or not."""
        with self.database.read() as session:
            return [
                KeyView(id=k.id, name=k.name, scopes=k.scopes, created_at=k.created_at, revoked_at=k.revoked_at)
                for k in KeyRepository(session).all()
            ]

    def revoke(self, id: str) -> None:  # noqa: A002
        """End a key. Raises `NotFound`."""
        with self.database.write() as session:
            key = KeyRepository(session).get(id)
            if key is None:
                raise NotFound(f"no key '{id}'")
            key.revoked_at = key.revoked_at or self.database.now(session)
        self._checked.clear()

    def needed(self) -> bool:
        """Whether a caller needs a key: once there is one, and wherever others can reach the service."""
        if self.settings.allow_keyless:
            return False
        return not self.settings.loopback or self.exist()

    def exist(self) -> bool:
        """Whether there is a key that is not revoked."""
        checked, found = self._any
        if time.monotonic() - checked > REMEMBERED:
            with self.database.read() as session:
                found = KeyRepository(session).any()
            self._any = (time.monotonic(), found)
        return found

    def known(self, header: str | None, scope: str) -> str | None:
        """What `check` says, where that needs no look at the database; None where it does, or refuses."""
        fresh = time.monotonic() - REMEMBERED
        if not self.settings.allow_keyless and self.settings.loopback:
            checked, found = self._any
            if checked <= fresh:
                return None
            if not found:
                return ""
        if self.settings.allow_keyless:
            return ""
        _, _, token = (header or "").partition(" ")
        parts = token.strip().split("_", 2)
        remembered = self._checked.get((parts[1], _hash(parts[2]))) if len(parts) == 3 else None
        if remembered is None or remembered[0] <= fresh or not header or header[:7].lower() != "bearer ":
            return None
        return parts[1] if scope in remembered[1] or "admin" in remembered[1] else None

    def check(self, header: str | None, *scopes: str) -> str:
        """The id of the caller's key, which has one of some scopes; "" where none is needed.

        Raises `Unauthenticated`, `Forbidden`.
        """
        if not self.needed():
            return ""
        scheme, _, token = (header or "").partition(" ")
        parts = token.strip().split("_", 2)
        if scheme.lower() != "bearer" or len(parts) != 3 or parts[0] != "cg":
            raise Unauthenticated("a key is needed: send `Authorization: Bearer <key>`")
        held = self._scopes(parts[1], parts[2])
        if not {*scopes, "admin"}.intersection(held):
            needed = " or ".join(f"'{scope}'" for scope in scopes)
            raise Forbidden(f"this key may {', '.join(held)}; the scope {needed} is needed")
        return parts[1]

    def _scopes(self, id: str, secret: str) -> Sequence[str]:  # noqa: A002
        given = _hash(secret)
        remembered = self._checked.get((id, given))
        if remembered is not None and time.monotonic() - remembered[0] < REMEMBERED:
            return remembered[1]
        with self.database.read() as session:
            key = KeyRepository(session).get(id)
            known = key.hash if key is not None and key.revoked_at is None else ""
            scopes = list(key.scopes) if key is not None else []
        if not hmac.compare_digest(known, given):
            raise Unauthenticated("the key is unknown or revoked")
        if len(self._checked) > 10_000:
            self._checked.clear()
        self._checked[id, given] = (time.monotonic(), scopes)
        return scopes


def refuse_without_keys(settings: Settings, keys: Keys) -> None:
    """Raises `KeysNeeded` when others could reach the service without a key."""
    if not settings.loopback and not settings.allow_keyless and not keys.exist():
        raise KeysNeeded(
            f"refusing to listen on {settings.host} without keys: make one with `cellgate keys create --scope admin`, "
            "or set CELLGATE_ALLOW_KEYLESS=true if everyone who can reach it may use it"
        )


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
