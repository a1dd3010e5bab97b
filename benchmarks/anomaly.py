"""Anomaly detection on the Numenta Anomaly Benchmark (58 series; Lavin and Ahmad 2015) against moving z-scores, in one run.

    python benchmarks/anomaly.py DATA [--seeds 0 1 2] [--detector predictor|autoencoder] [--config '{}']

One global detector learns from the first 15 % of every series (NAB's probation) and from no label; best epoch and
calibration come from the end of that stretch. The rest of every series is scored: point-wise (AUROC and best F1 of a
series, averaged over the series that have a labelled window), and by NAB's own measure: a window counts once, at its
first alarm, the more the earlier (a sigmoid), a missed window costs 1, an alarm outside 0.11; 100 is perfect, 0 says
nothing. Alarms are steps above a threshold, or the starts of events, which merge steps close to each other; a
detector's one threshold for all series is the best on the development series (every second by name), each seed its own.
All that was chosen by labels (how errors, stretches and scores are formed, and their constants) was chosen on those.
Both detectors are also shown with thresholds that no label chose: three standard deviations, and the model's own.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from spoken import Spoken

from models import catalog, scores
from models.predictor import Predictor
from models.runtimes.torch_run import TorchRun
from models.tasks.anomaly import scoring
from models.trainer import train

PROBATION = 0.15
Z_WINDOWS = (25, 50, 100, 200, 400, 1000)
Z_OWN = 3.0
"""The threshold of a moving z-score where no label chooses one."""
OUTSIDE = 0.11
"""What an alarm outside costs, where a found window gives 1 and a missed one costs 1 (NAB's standard profile)."""
MERGES = {"steps": None, "events": 50}
"""Steps between flags that are still one alarm; for events the default of `params.merge`."""
Found = dict[str, np.ndarray]
"""The scores of every series by its name."""


@dataclass(frozen=True)
class Nab:
    """One series of the benchmark."""

    name: str
    times: list[str]
    values: np.ndarray
    windows: list[tuple[int, int]]
    """First and last step of each labelled window."""

    @property
    def begin(self) -> int:
        return int(PROBATION * len(self.values))

    def labels(self) -> np.ndarray:
        marked = np.zeros(len(self.values), dtype=bool)
        for first, last in self.windows:
            marked[first : last + 1] = True
        return marked


def read(data: Path) -> list[Nab]:
    named = json.loads((data / "anomaly/nab/labels/combined_windows.json").read_text())
    found = []
    for name in sorted(named):
        with (data / "anomaly/nab/data" / name).open() as file:
            rows = list(csv.DictReader(file))
        times = np.array([row["timestamp"] for row in rows], dtype="datetime64[ms]")
        windows = []
        for first, last in named[name]:
            inside = np.flatnonzero((times >= np.datetime64(first, "ms")) & (times <= np.datetime64(last, "ms")))
            windows.append((int(inside[0]), int(inside[-1])))
        values = np.array([float(row["value"]) for row in rows])
        found.append(Nab(name, [row["timestamp"] for row in rows], values, windows))
    return found


def moving_z(values: np.ndarray, width: int) -> np.ndarray:
    """How many standard deviations a value lies from the mean of the `width` before it."""
    centred = values - values[0]
    sums = np.concatenate([np.zeros((1, 2)), np.cumsum(np.stack([centred, centred**2], axis=1), axis=0)])
    at = np.arange(len(values))
    first = np.maximum(0, at - width)
    mean, square = ((sums[at] - sums[first]) / np.maximum(1, at - first)[:, None]).T
    spread = np.sqrt(np.maximum(0, square - mean**2)) + 1e-9 * max(1.0, float(np.abs(values).max()))
    return np.where(at > 1, np.abs(centred - mean) / spread, 0.0)


def pointwise(series: list[Nab], found: Found) -> tuple[float, float]:
    """Mean AUROC and mean best F1 over the series that have a labelled step after probation."""
    both = []
    for one in series:
        said, true = found[one.name][one.begin :], one.labels()[one.begin :]
        if true.any():
            both.append((scores.auroc(said, true), scores.best_f1(said, true)))
    auroc, f1 = np.mean(both, axis=0)
    return float(auroc), float(f1)


def alarms(said: np.ndarray, threshold: float, merge: int | None) -> list[int]:
    flags = said >= threshold
    if merge is None:
        return np.flatnonzero(flags).tolist()
    return [start for start, _, _ in scoring.events(flags, said, merge=merge)]


def onset(series: list[Nab], raised: dict[str, list[int]]) -> float:
    """NAB's normalised score: 100 for every window found at its first step and no alarm outside, 0 for silence."""
    gained = best = worst = 0.0
    for one in series:
        rest = [at for at in raised[one.name] if at >= one.begin]
        windows = [(first, last) for first, last in one.windows if last >= one.begin]
        for first, last in windows:
            inside = [at for at in rest if first <= at <= last]
            gained += sigmoid((inside[0] - last) / max(1, last - first)) if inside else -1.0
            best, worst = best + sigmoid(-1.0), worst - 1.0
        for at in rest:
            if not any(first <= at <= last for first, last in windows):
                before = [(first, last) for first, last in windows if last < at]
                far = (at - before[-1][1]) / max(1, before[-1][1] - before[-1][0]) if before else np.inf
                gained += OUTSIDE * sigmoid(far)
    return 100 * (gained - worst) / (best - worst)


def sigmoid(place: float) -> float:
    """1 at the start of a window (-1), 0 at its end (0), -1 far after it."""
    return -1.0 if place > 3 else 2 / (1 + float(np.exp(5 * place))) - 1


def chosen(series: list[Nab], found: Found, merge: int | None) -> float:
    """The threshold with the best onset score on some series."""
    every = np.concatenate([found[one.name][one.begin :] for one in series])
    tried = np.unique(np.quantile(every, 1 - np.geomspace(3e-5, 0.3, 60)))
    return max(
        tried.tolist(),
        key=lambda least: onset(series, {one.name: alarms(found[one.name], least, merge) for one in series}),
    )


def detector(series: list[Nab], asked: argparse.Namespace, seed: int) -> tuple[Found, float]:
    """The scores of every step, and the model's threshold at its default sensitivity."""
    card, codec, network = (find("anomaly") for find in (catalog.card, catalog.codec, catalog.network))
    rows = [
        card.row.model_validate({"values": one.values[: one.begin].tolist(), "timestamps": one.times[: one.begin]})
        for one in series
    ]
    config = card.config.model_validate({"seed": seed, "detector": asked.detector, **asked.config})
    began = time.monotonic()
    made = train(codec, network, {"train": rows, "validation": rows, "test": []}, config, monitor=Spoken())
    print(f"  {time.monotonic() - began:.0f} s of training, loss {made.metrics['loss']:.4f}, seed {seed}")
    predictor, params = Predictor(codec, made.state, config, TorchRun(made.net, network)), card.params()
    found, began = {}, time.monotonic()
    for one in series:
        item = card.parse_item({"values": one.values.tolist(), "timestamps": one.times})
        output = predictor.answer([predictor.prepare(item, params)], params)[0]
        found[one.name] = np.array(output.scores)
    print(f"  {sum(len(one.values) for one in series)} steps scored in {time.monotonic() - began:.0f} s")
    return found, output.threshold


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--detector", default="predictor", choices=["predictor", "autoencoder"])
    parser.add_argument("--config", type=json.loads, default={})
    parser.add_argument("--development", action="store_true", help="show the development series alone")
    asked = parser.parse_args()
    series = read(asked.data)
    groups = {"development": series[::2]}
    if not asked.development:
        groups |= {"others": series[1::2], "all": series}
    trained = [detector(series, asked, seed) for seed in asked.seeds]
    table = {f"moving z-score, {width}": [z_scores(series, width)] for width in Z_WINDOWS}
    table |= {f"seed {seed}": [found] for seed, (found, _) in zip(asked.seeds, trained, strict=True)}
    table[f"Cellgate {asked.detector}, mean"] = [found for found, _ in trained]
    print(f"\n{'point-wise':24}" + "".join(f"{name + ': AUROC, F1':>28}" for name in groups))
    for name, runs in table.items():
        cells = (np.mean([pointwise(group, found) for found in runs], axis=0) for group in groups.values())
        print(f"{name:24}" + "".join(f"{f'{auroc:.4f}, {f1:.4f}':>28}" for auroc, f1 in cells))
    print(f"\n{'by window onset':44}" + "".join(f"{name:>14}" for name in groups))
    for kind, merge in MERGES.items():
        for name, runs in table.items():
            best = [(found, chosen(series[::2], found, merge)) for found in runs]
            show(f"{name}, one alarm per {kind[:-1]}", groups, best, merge)
        plain = [(z_scores(series, Z_WINDOWS[-1]), Z_OWN)]
        show(f"moving z-score, {Z_WINDOWS[-1]}, above {Z_OWN:.0f}, per {kind[:-1]}", groups, plain, merge)
        show(f"Cellgate, its own threshold, per {kind[:-1]}", groups, trained, merge)


def z_scores(series: list[Nab], width: int) -> Found:
    return {one.name: moving_z(one.values, width) for one in series}


def show(name: str, groups: dict[str, list[Nab]], runs: list[tuple[Found, float]], merge: int | None) -> None:
    """The mean onset score of some runs, each with its threshold."""
    raised = [{one: alarms(said, least, merge) for one, said in found.items()} for found, least in runs]
    means = (np.mean([onset(group, each) for each in raised]) for group in groups.values())
    print(f"{name:44}" + "".join(f"{mean:14.1f}" for mean in means))


if __name__ == "__main__":
    main()
