"""Draws up the table of a comparison from the runs of its cells. Knows numbers, no database and no torch.

Cells are judged by the test part where the data has one, else by validation; the best cell, and its best
seed, are chosen by validation alone. Runs of one seed share data and order: they are compared in pairs.
"""

from __future__ import annotations

import importlib
import itertools
import math
import statistics
from collections.abc import Sequence
from typing import Any

from app.jobs.conclusion import Concluded, all_failed, merit, metrics_of
from app.jobs.queue import Child
from models.task import Card

LEVEL = 0.05
"""Chance of calling equal cells different that is still called significant."""


def compared(card: Card, children: Sequence[Child]) -> Concluded:
    """The table of a comparison. A run that failed is told in it; only where all failed is there a problem."""
    cells = list(dict.fromkeys(child.request["varies"]["cell"] for child in children))
    done = [child for child in children if child.state == "succeeded" and child.artifact]
    if not done:
        return Concluded(result={}, problem=all_failed(children))
    part = "test" if all(f"test_{card.metric}" in metrics_of(child) for child in done) else "validation"
    rows = [_row(card, part, cell, [child for child in children if _cell(child) == cell]) for cell in cells]
    best = _best_cell(card, cells, done)
    winner = max((child for child in done if _cell(child) == best), key=lambda child: merit(card, child))
    return Concluded(
        artifact=winner.artifact,
        result={
            "metric": card.metric,
            "higher_is_better": card.higher_is_better,
            "part": part,
            "best": {
                "cell": best,
                "seed": winner.request["varies"]["seed"],
                "job": winner.id,
                "chosen_by": "validation",
            },
            "cells": rows,
            "tests": _tests(card, rows),
            "notes": _notes(card, children, part),
        },
    )


def _row(card: Card, part: str, cell: str, runs: Sequence[Child]) -> dict[str, Any]:
    """One cell: its mean and spread, and every run."""
    told = [_run(card, part, run) for run in runs]
    done = [run for run in told if run["error"] is None]

    def over(name: str) -> dict[str, float | None]:
        values = [run[name] for run in done if run[name] is not None]
        return {
            "mean": statistics.fmean(values) if values else None,
            "sd": statistics.stdev(values) if len(values) > 1 else None,
        }

    score, loss = over("score"), over("loss")
    return {
        "cell": cell,
        "mean": score["mean"],
        "sd": score["sd"],
        "validation_mean": over("validation_score")["mean"],
        "loss": loss["mean"],
        "loss_sd": loss["sd"],
        "seconds": over("seconds")["mean"],
        "parameters": done[0]["parameters"] if done else None,
        "runs": told,
    }


def _run(card: Card, part: str, child: Child) -> dict[str, Any]:
    metrics, result = metrics_of(child), child.result or {}
    failed = child.state != "succeeded"
    return {
        "seed": child.request["varies"]["seed"],
        "job": child.id,
        "score": None if failed else metrics.get(f"{part}_{card.metric}"),
        "validation_score": None if failed else metrics.get(f"validation_{card.metric}"),
        "loss": None if failed else metrics.get(f"{part}_loss"),
        "seconds": None if failed else result["seconds"],
        "parameters": None if failed else result["parameters"],
        "error": (child.error or {"type": child.state, "detail": f"the run was {child.state}"}) if failed else None,
    }


def _best_cell(card: Card, cells: Sequence[str], done: Sequence[Child]) -> str:
    """The cell of the best mean validation score, a tie broken by the mean loss, then by the order asked for."""

    def of(cell: str) -> tuple[float, ...]:
        merits = [merit(card, child) for child in done if _cell(child) == cell]
        return tuple(statistics.fmean(column) for column in zip(*merits, strict=True)) or (-math.inf, -math.inf)

    return max(cells, key=of)


def _tests(card: Card, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each two cells over the seeds that both ended well: a paired t-test, Holm's correction, and Wilcoxon's test."""
    made = []
    for one, other in itertools.combinations(rows, 2):
        scores = [
            {run["seed"]: run["score"] for run in row["runs"] if run["score"] is not None} for row in (one, other)
        ]
        seeds = sorted(scores[0].keys() & scores[1].keys())
        made.append(_test(one["cell"], other["cell"], [(scores[0][seed], scores[1][seed]) for seed in seeds]))
    least = 0.0
    ranked = sorted((test for test in made if test["p"] is not None), key=lambda test: test["p"])
    for place, test in enumerate(ranked):  # Holm 1979
        least = max(least, min(1.0, test["p"] * (len(ranked) - place)))
        test["p_holm"] = least
    for test in made:
        test["says"] = _says(card, test)
    return made


def _test(one: str, other: str, pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    differences = [a - b for a, b in pairs]
    made: dict[str, Any] = {
        "cells": [one, other],
        "seeds": len(pairs),
        "difference": statistics.fmean(differences) if pairs else None,
        "t": None,
        "p": None,
        "p_holm": None,
        "wilcoxon_p": None,
    }
    if not any(differences):
        return made | ({"p": 1.0, "wilcoxon_p": 1.0} if len(pairs) > 1 else {})
    if len(pairs) < 2 or max(differences) - min(differences) < 1e-12:  # no spread: nothing to measure it with
        return made
    stats = importlib.import_module("scipy.stats")
    tested = stats.ttest_1samp(differences, 0.0)
    ranked = stats.wilcoxon(differences)
    return made | {"t": float(tested.statistic), "p": float(tested.pvalue), "wilcoxon_p": float(ranked.pvalue)}


def _says(card: Card, test: dict[str, Any]) -> str:
    """The test in a sentence that claims no more than the seeds allow."""
    (one, other), seeds, difference = test["cells"], test["seeds"], test["difference"]
    if seeds < 2:
        return f"{seeds} shared seed{'s' * (seeds != 1)} of {one} and {other}: nothing can be said of chance"
    if difference == 0 and test["p"] == 1.0:
        return f"{one} and {other} scored the same {card.metric} on average over {seeds} seeds"
    better = one if (difference > 0) == card.higher_is_better else other
    lead = f"{better} is better by {abs(difference):.4g} {card.metric} on average over {seeds} seeds"
    if test["p"] is None:
        return f"{lead}, by the same at every seed: the spread that a test would need is not there"
    verdict = "significant" if test["p_holm"] < LEVEL else "which chance alone may explain"
    power = "" if 2 / 2**seeds < LEVEL else f"; {seeds} seeds can give Wilcoxon's test no p below {2 / 2**seeds:.3g}"
    return f"{lead}, {verdict} (paired t-test, p {test['p']:.2g}, {test['p_holm']:.2g} after Holm){power}"


def _notes(card: Card, children: Sequence[Child], part: str) -> list[str]:
    config = children[0].request["config"]
    patience = config["patience"]
    epochs = f"every run had {config['epochs']} epochs at most"
    off = "patience was off, so that all took the same steps along the same learning rates"
    notes = [
        f"{epochs}; {off if patience >= config['epochs'] else f'each stopped after {patience} without a better score'}",
        f"scores are of the {part} part at the epoch with the best validation score",
        "seeds vary the first weights and the order of the batches, not the data: "
        "the tests say nothing of how the cells would do on other data",
    ]
    if part == "validation":
        notes.append(f"the {card.metric} flatters a little: the same part chose each run's epoch")
    failed = sum(child.state != "succeeded" for child in children)
    if failed:
        notes.append(f"{failed} of {len(children)} runs did not succeed and count in no mean")
    return notes


def _cell(child: Child) -> str:
    return str(child.request["varies"]["cell"])
