"""The table of a comparison, from made-up runs: means, spreads, tests that claim no more than they can. Knows no database."""

from __future__ import annotations

from typing import Any

import pytest

from app.jobs.comparison import compared
from app.jobs.queue import Child
from models import catalog

CARD = catalog.card("sentiment")


def run(
    cell: str, seed: int, score: float | None, *, validation: float | None = None, part: str = "validation"
) -> Child:
    """A run of a cell; without a score it failed."""
    metrics = {"validation_accuracy": score if validation is None else validation, "validation_loss": 0.5}
    if part == "test":
        metrics |= {"test_accuracy": score, "test_loss": 0.25}
    return Child(
        id=f"{cell}{seed}",
        state="failed" if score is None else "succeeded",
        request={"config": {"epochs": 4, "patience": 4}, "varies": {"cell": cell, "seed": seed}},
        result=None if score is None else {"metrics": metrics, "seconds": 2.0 + seed, "parameters": 10},
        error={"type": "diverged", "title": "Training diverged", "detail": "nan"} if score is None else None,
        artifact=None if score is None else f"blob {cell}{seed}",
    )


def runs(part: str = "validation", **scores: list[float]) -> list[Child]:
    return [run(cell, seed, score, part=part) for cell, each in scores.items() for seed, score in enumerate(each)]


def row(result: dict[str, Any], cell: str) -> dict[str, Any]:
    (found,) = (each for each in result["cells"] if each["cell"] == cell)
    return found


def test_a_row_holds_mean_spread_and_every_run() -> None:
    result = compared(CARD, runs(lstm=[0.8, 0.9, 1.0], gru=[0.5, 0.6, 0.7])).result
    assert (result["metric"], result["part"], [each["cell"] for each in result["cells"]]) == (
        "accuracy",
        "validation",
        ["lstm", "gru"],
    )
    found = row(result, "lstm")
    assert (found["mean"], found["sd"], found["loss"], found["seconds"], found["parameters"]) == pytest.approx(
        (0.9, 0.1, 0.5, 3.0, 10)
    )
    assert [(each["seed"], each["job"], each["score"]) for each in found["runs"]] == [
        (0, "lstm0", 0.8),
        (1, "lstm1", 0.9),
        (2, "lstm2", 1.0),
    ]


def test_the_best_is_chosen_by_validation_though_another_is_better_on_test() -> None:
    children = [
        run("lstm", 0, 0.5, validation=0.9, part="test"), run("lstm", 1, 0.6, validation=0.8, part="test"),
        run("gru", 0, 0.99, validation=0.7, part="test"), run("gru", 1, 0.99, validation=0.95, part="test"),
    ]  # fmt: skip
    concluded = compared(CARD, children)
    assert concluded.result["part"] == "test"
    assert row(concluded.result, "gru")["mean"] == pytest.approx(0.99)
    assert concluded.result["best"] == {"cell": "lstm", "seed": 0, "job": "lstm0", "chosen_by": "validation"}
    assert concluded.artifact == "blob lstm0"


def test_a_lower_score_is_better_where_the_card_says_so() -> None:
    card = catalog.card("forecasting")
    children = [run("lstm", 0, 1.0), run("gru", 0, 1.0)]
    for child, score in zip(children, (0.9, 0.4), strict=True):
        assert child.result is not None
        child.result["metrics"] |= {"validation_mase": score}
    assert compared(card, children).result["best"]["cell"] == "gru"


def test_the_tests_are_scipys_on_pairs_and_are_put_into_words() -> None:
    result = compared(CARD, runs(lstm=[0.80, 0.82, 0.84, 0.81, 0.83], gru=[0.70, 0.75, 0.71, 0.74, 0.70])).result
    (test,) = result["tests"]
    differences = [0.10, 0.07, 0.13, 0.07, 0.13]
    assert test["difference"] == pytest.approx(sum(differences) / 5)
    # t = mean / (sd / sqrt n), written out
    mean = sum(differences) / 5
    sd = (sum((d - mean) ** 2 for d in differences) / 4) ** 0.5
    assert test["t"] == pytest.approx(mean / (sd / 5**0.5))
    assert test["p"] == pytest.approx(0.001542, rel=0.01) or test["p"] < 0.01
    assert test["wilcoxon_p"] == pytest.approx(2 / 2**5)
    assert test["says"].startswith("lstm is better by 0.1 accuracy on average over 5 seeds, significant")
    assert "5 seeds can give Wilcoxon's test no p below 0.0625" in test["says"]


def test_several_pairs_are_corrected_by_holm() -> None:
    scores = {"lstm": [0.80, 0.82, 0.84], "gru": [0.70, 0.75, 0.71], "rnn": [0.5, 0.52, 0.48]}
    tests = compared(CARD, runs(**scores)).result["tests"]
    assert [test["cells"] for test in tests] == [["lstm", "gru"], ["lstm", "rnn"], ["gru", "rnn"]]
    ranked = sorted(tests, key=lambda test: test["p"])
    assert ranked[0]["p_holm"] == pytest.approx(min(1, 3 * ranked[0]["p"]))
    assert [test["p_holm"] for test in ranked] == sorted(test["p_holm"] for test in ranked)


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        ([0.8], [0.7], "1 shared seed of lstm and gru: nothing can be said of chance"),
        ([0.8, 0.9], [0.8, 0.9], "lstm and gru scored the same accuracy on average over 2 seeds"),
        ([0.75, 1.0], [0.5, 0.75], "by the same at every seed: the spread that a test would need is not there"),
        ([0.8, 0.9, 0.7], [0.79, 0.92, 0.68], "which chance alone may explain"),
    ],
)
def test_too_few_seeds_claim_nothing(one: list[float], other: list[float], says: str) -> None:
    (test,) = compared(CARD, runs(lstm=one, gru=other)).result["tests"]
    assert says in test["says"]


def test_a_failed_run_is_told_and_its_seed_is_in_no_pair() -> None:
    children = [*runs(lstm=[0.8, 0.9, 0.7]), run("gru", 0, 0.7), run("gru", 1, None), run("gru", 2, 0.75)]
    result = compared(CARD, children).result
    assert row(result, "gru")["mean"] == pytest.approx(0.725)
    assert [each["error"] and each["error"]["type"] for each in row(result, "gru")["runs"]] == [None, "diverged", None]
    assert result["tests"][0]["seeds"] == 2
    assert any("1 of 6 runs did not succeed" in note for note in result["notes"])


def test_a_cell_without_a_run_has_an_empty_row_and_is_not_best() -> None:
    result = compared(CARD, [run("lstm", 0, None), run("gru", 0, 0.1)]).result
    assert row(result, "lstm")["mean"] is None
    assert result["best"]["cell"] == "gru"
    assert result["tests"][0]["says"].startswith("0 shared seeds")


def test_a_comparison_fails_only_where_every_run_did() -> None:
    concluded = compared(CARD, [run("lstm", 0, None), run("gru", 0, None)])
    assert concluded.problem is not None
    assert (concluded.problem["type"], concluded.problem["detail"]) == (
        "diverged",
        "none of 2 runs succeeded; the first: nan",
    )
