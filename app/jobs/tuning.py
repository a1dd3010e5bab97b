"""Draws up the table of a study from its trials, and says which is best. Knows numbers, no database and no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.jobs.conclusion import Concluded, all_failed, merit, metrics_of
from app.jobs.queue import Child, settled
from app.jobs.study import importance
from models.task import Card


def tuned(card: Card, children: Sequence[Child]) -> Concluded:
    """Every trial, and the best by validation. One that failed is told; only where all failed is there a problem."""
    done = [child for child in children if child.state == "succeeded" and child.artifact]
    if not done:
        return Concluded(result={}, problem=all_failed(children))
    best = max(done, key=lambda child: merit(card, child))
    table = {
        "metric": card.metric,
        "higher_is_better": card.higher_is_better,
        "best": {
            "trial": best.request["varies"]["trial"],
            "params": settled(best.request),
            "score": metrics_of(best).get(f"validation_{card.metric}"),
            "job": best.id,
            "chosen_by": "validation",
        },
        "trials": [_row(card, child) for child in children],
        "importance": importance(card, children),
        "notes": _notes(card, children),
    }
    return Concluded(artifact=best.artifact, result=table, study=table)


def _row(card: Card, child: Child) -> dict[str, Any]:
    """One trial; what it did not come to is null."""
    result = child.result or {}
    succeeded = child.state == "succeeded"
    error = child.error or {"type": child.state, "detail": f"the trial was {child.state}"}
    return {
        "trial": child.request["varies"]["trial"],
        "params": settled(child.request),
        "state": "pruned" if result.get("pruned") is not None else child.state,
        "score": metrics_of(child).get(f"validation_{card.metric}"),
        "loss": metrics_of(child).get("validation_loss"),
        "pruned_after": result.get("pruned"),
        "seconds": result.get("seconds"),
        "parameters": result.get("parameters"),
        "job": child.id,
        "error": None if succeeded else {"type": error.get("type"), "detail": error.get("detail")},
    }


def _notes(card: Card, children: Sequence[Child]) -> list[str]:
    pruned = sum((child.result or {}).get("pruned") is not None for child in children)
    failed = sum(child.state != "succeeded" for child in children)
    notes = [
        f"scores are the {card.metric} of the validation part, which chose each trial's epoch and the best of "
        f"{len(children)} trials: they flatter; judge the version by a part that chose nothing"
    ]
    if pruned:
        notes.append(f"{pruned} of {len(children)} trials were given up early, and count with their best until then")
    if failed:
        notes.append(f"{failed} of {len(children)} trials did not succeed")
    return notes
