"""What tasks that give every step a label share: what is counted before learning. Pydantic only."""

from __future__ import annotations

from models.task import Schema


class TagState(Schema):
    """What is counted of labels before learning."""

    labels: list[str]
    counts: list[int]
    """Training steps of each label."""
    rows: int
    """Training rows."""
