"""Accuracy on clips of sensors and of bodies: BasicMotions, and the gestures of Madeo et al. (2013).

    python benchmarks/actions.py DATA [motions|gestures] [--seeds 0 1 2] [--config '{"hidden": 32}']

DATA holds `actions/`. BasicMotions: 40 clips to learn from, 40 to answer; a quarter of each label, chosen by the seed,
picks the epoch. Gestures: a clip is the frames between two changes of phase; videos a1 a2 b1 c1 teach, a3 picks the
epoch, b3 c3 are the test. All read the same positions: relative to the spine, for the place in the room says nothing,
and across and up in units of the distance from spine to head, for persons differ in size (and the file of b3, as its
frames show, in the unit of these two axes). The linear opponent reads the mean and the deviation of each feature over
the clip. Needs `pip install .[benchmark]`.
"""

from __future__ import annotations

import argparse
import csv
import json
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from classify import PLAIN, kept_back, trained
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from ts_files import Labelled, nearest, read

from models import catalog

VIDEOS = {"train": ["a1", "a2", "b1", "c1"], "validation": ["a3"], "test": ["b3", "c3"]}
HEAD, SPINE = 2, 3


def motions(data: Path, seeds: list[int], config: dict) -> None:
    train, test = (read(data / f"actions/BasicMotions_{part}.ts") for part in ("TRAIN", "TEST"))
    rows, held = rows_of(train), rows_of(test)
    print(f"BasicMotions   nearest neighbour: {nearest(train, test):.1%}   linear: {linear(train, test):.1%}")
    compare(lambda seed: {**kept_back(rows, seed=seed, share=0.25), "test": held}, seeds, config)


def gestures(data: Path, seeds: list[int], config: dict) -> None:
    clips = {part: [clip for name in names for clip in video(data, name)] for part, names in VIDEOS.items()}
    parts = {part: rows_of(found) for part, found in clips.items()}
    print(f"Gesture Phase  {', '.join(f'{len(found)} clips {part}' for part, found in clips.items())}")
    near, line = (judge(clips["train"], clips["test"]) for judge in (nearest, linear))
    print(f"               nearest neighbour: {near:.1%}   linear: {line:.1%}")
    compare(lambda seed: parts, seeds, config)


def compare(parts, seeds: list[int], config: dict) -> None:
    trained("actions", "plain BiLSTM, last state", parts, seeds, {**PLAIN, **config})
    trained("actions", "the defaults", parts, seeds, config)


def rows_of(clips: Labelled) -> list:
    return [catalog.card("actions").row(frames=frames, label=label) for frames, label in clips]


def video(data: Path, name: str) -> Labelled:
    """The clips of one video: frames of one phase in a row, (T, 15)."""
    with (data / f"actions/{name}_raw.csv").open(encoding="utf-8") as file:
        records = list(csv.DictReader(file))
    clips = []
    for phase, frames in groupby(records, key=lambda record: record["phase"]):
        joints = np.array([list(frame.values())[:18] for frame in frames], dtype=np.float64).reshape(-1, 6, 3)
        relative = joints - joints[:, SPINE : SPINE + 1]
        relative[:, :, :2] /= np.linalg.norm(relative[:, HEAD, :2], axis=1).mean()
        values = np.delete(relative, SPINE, axis=1).reshape(len(joints), -1)
        clips.append((values, "Preparation" if phase == "Preparação" else phase))  # one frame is labelled in Portuguese
    return clips


def linear(train: Labelled, test: Labelled) -> float:
    """Accuracy of logistic regression on means and deviations."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    summary = [[np.concatenate([x.mean(0), x.std(0)]) for x, _ in clips] for clips in (train, test)]
    model.fit(summary[0], [label for _, label in train])
    return float(model.score(summary[1], [label for _, label in test]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("which", nargs="?", choices=["motions", "gestures"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--config", type=json.loads, default={})
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name, run in (("motions", motions), ("gestures", gestures)):
        if asked.which in (None, name):
            run(asked.data, asked.seeds, asked.config)


if __name__ == "__main__":
    main()
