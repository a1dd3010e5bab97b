"""Which version an alias should point at: a new one that is better, or the one before. Knows rows and scores alone."""

from __future__ import annotations

from app.db.repositories.models import ModelRepository
from app.db.tables import Version
from models import catalog

PRODUCTION = "production"


def reason(rows: ModelRepository, version: Version, promote: str) -> str | None:
    """Why a new version goes to production; None if it does not.

    Scores compare only where both are of the same data.
    """
    live = rows.alias(version.model, PRODUCTION)
    if live is None:
        return "the first version"
    if promote == "always":
        return "promote: always"
    current = rows.version(version.model, live.version)
    if promote == "never" or current is None or _data(version) != _data(current):
        return None
    card = catalog.card(version.task)
    new, old = version.metrics.get(card.metric), current.metrics.get(card.metric)
    if new is None or old is None or not (new > old if card.higher_is_better else new < old):
        return None
    return f"{card.metric} {new:.4g} is better than {old:.4g} of version {current.version}"


def before(rows: ModelRepository, name: str, alias: str, current: int) -> int | None:
    """The version that was live before the current one came, passing over what was deleted or rolled back."""
    for move in rows.history(name, alias=alias):
        if move.version == current and move.previous is not None and not move.reason.startswith("rolled back"):
            return move.previous if rows.version(name, move.previous) else None
    return None


def _data(version: Version) -> object:
    return (version.dataset or {}).get("digest")
