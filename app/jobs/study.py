"""What the trials of a study try, and which are given up early, by Optuna. Knows records; no database, no torch.

There is no study beside its trials: each time it is asked it is made anew, in memory, from what their jobs say.
So it survives whatever they survive, and the same trials before give the same suggestion.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from app.errors import Invalid
from app.jobs.conclusion import metrics_of
from app.jobs.queue import Child, settled
from models.task import Card

DRAWS = 20
"""Suggestions in a row that may have been tried before a combination is looked for that was not."""
TELLING = {"diverged", "out-of-memory"}
"""Failures that are a trial's own: the study keeps away from what led to them."""
LOOKS = 50
"""Epochs of a trial at most at which it is held against the others."""


def looks_every(epochs: int) -> int:
    """Epochs from one look at a trial to the next."""
    return -(-epochs // LOOKS)


def suggested(card: Card, request: Mapping[str, Any], others: Sequence[Child]) -> dict[str, Any]:
    """What a trial is to try, by TPE (Bergstra et al. 2011): values of the options searched, which no other has.

    The first trials are drawn at random. Raises `Invalid` where nothing is left to try.
    """
    plan, number = request["study"], request["varies"]["trial"]
    seed = int(np.random.SeedSequence([plan["seed"], number]).generate_state(1)[0])
    sampler = _optuna().samplers.TPESampler(
        seed=seed, constant_liar=True, n_startup_trials=min(10, max(4, plan["trials"] // 3))
    )
    study, space = _study(card, plan, others, sampler=sampler), _distributions(plan["search"])
    tried = [settled(other.request) for other in others]
    for _ in range(DRAWS):
        found = _values(plan["search"], study.ask(space).params)
        if found not in tried:
            return found
    return _left(plan["search"], tried)


def hopeless(card: Card, request: Mapping[str, Any], others: Sequence[Child], *, epoch: int, best: float) -> str | None:
    """Why a trial is given up: its best score until an epoch is worse than the median of the others' at that epoch.

    None while it may go on: in its first fifth, and until a few of the others have run to their ends.
    """
    optuna, plan = _optuna(), request["study"]
    study, space = _study(card, plan, others), _distributions(plan["search"])
    params = _places(plan["search"], settled(dict(request)))
    running = optuna.trial.create_trial(
        state=optuna.trial.TrialState.RUNNING, params=params, distributions=space, intermediate_values={epoch: best}
    )
    study.add_trial(running)
    pruner = optuna.pruners.MedianPruner(
        n_startup_trials=min(5, max(2, plan["trials"] // 4)), n_warmup_steps=request["config"]["epochs"] // 5
    )
    if not pruner.prune(study, study.trials[-1]):
        return None
    return f"pruned: the best {card.metric} so far, {best:.4g}, is worse than the median of the other trials"


def importance(card: Card, children: Sequence[Child]) -> dict[str, float] | None:
    """How much each option mattered among all trials that ran to their ends (PED-ANOVA, Watanabe et al. 2023).

    None where the trials are too few, or too alike, to say.
    """
    optuna, plan = _optuna(), children[0].request["study"]
    study = _study(card, plan, children)
    values = [trial.value for trial in study.get_trials(states=[optuna.trial.TrialState.COMPLETE])]
    if len(values) < 4 or len(set(values)) < 2 or len(plan["search"]) < 2:
        return None
    judge = optuna.importance.PedAnovaImportanceEvaluator()
    found = optuna.importance.get_param_importances(study, evaluator=judge)
    return {name: round(float(share), 4) for name, share in found.items()}


@cache
def _optuna() -> Any:
    """Loaded where it is first needed: most workers never tune."""
    optuna = importlib.import_module("optuna")
    importlib.import_module("optuna.importance")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _study(card: Card, plan: Mapping[str, Any], children: Sequence[Child], *, sampler: Any = None) -> Any:
    optuna = _optuna()
    made = optuna.create_study(direction="maximize" if card.higher_is_better else "minimize", sampler=sampler)
    for child in children:
        known = _known(card, child)
        if known is not None:
            params = _places(plan["search"], settled(child.request))
            made.add_trial(
                optuna.trial.create_trial(params=params, distributions=_distributions(plan["search"]), **known)
            )
    return made


def _known(card: Card, child: Child) -> dict[str, Any] | None:
    """State and scores of a trial as Optuna holds them; None for one that tells nothing.

    One that was pruned without a score is the worst there is; one under way is taken for a bad one, so that
    workers that ask at the same time try different things.
    """
    states = _optuna().trial.TrialState
    if not settled(child.request) or child.state == "cancelled":
        return None
    if child.state == "failed":
        return {"state": states.PRUNED} if (child.error or {}).get("type") in TELLING else None
    if child.state != "succeeded":
        return {"state": states.RUNNING}
    score, result = metrics_of(child).get(f"validation_{card.metric}"), child.result or {}
    if score is None:
        return {"state": states.PRUNED}
    if result.get("pruned") is not None:
        return {"state": states.PRUNED, "intermediate_values": {result["pruned"]: score}}
    by_epoch = {int(epoch): value for epoch, value in result.get("by_epoch", {}).items()}
    return {"state": states.COMPLETE, "value": score, "intermediate_values": by_epoch}


def _distributions(search: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The space as Optuna holds it; choices by their place, for they may be lists."""
    kinds = _optuna().distributions
    return {
        name: kinds.CategoricalDistribution(tuple(range(len(options["choices"]))))
        if "choices" in options
        else (kinds.IntDistribution if options["whole"] else kinds.FloatDistribution)(
            options["low"], options["high"], log=options["log"]
        )
        for name, options in search.items()
    }


def _values(search: Mapping[str, Mapping[str, Any]], params: Mapping[str, Any]) -> dict[str, Any]:
    """What is tried, of what Optuna says."""
    return {
        name: options["choices"][params[name]] if "choices" in options else params[name]
        for name, options in search.items()
    }


def _places(search: Mapping[str, Mapping[str, Any]], values: Mapping[str, Any]) -> dict[str, Any]:
    """What Optuna says, of what is tried."""
    return {
        name: options["choices"].index(values[name]) if "choices" in options else values[name]
        for name, options in search.items()
    }


def _left(search: Mapping[str, Mapping[str, Any]], tried: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The first combination that was not tried; of a range without end its bounds stand for it."""
    values = [
        options["choices"]
        if "choices" in options
        else range(options["low"], options["high"] + 1)
        if options["whole"]
        else (options["low"], options["high"])
        for options in search.values()
    ]
    for combination in itertools.product(*values):
        found = dict(zip(search, combination, strict=True))
        if found not in tried:
            return found
    raise Invalid("every combination of the options searched was tried")
