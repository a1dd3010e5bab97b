"""Frame accuracy and phone error rate on spoken digits (FSDD), the official split and two unseen speakers.

    python benchmarks/phonemes.py DATA [--seed 0] [--only official|unseen] [--config JSON] [--validate] [--zip FILE]

DATA holds `phonemes/recordings.zip` and `phones.tsv`. Official split: recordings 0-4 of each digit and speaker are
the test, 5-9 validation, 10-49 training. Unseen speakers: george and theo are the test, and of the four others
yweweler is held out for validation. `--validate` scores no test part; `--zip` writes the data set of a split as a
zip with a manifest, for `POST /v1/datasets`. The linear rival (LDA over 9 frames of 40 log-mel energies) needs
`pip install .[benchmark]`.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from spoken import Spoken

from models import catalog
from models.archive import Archive
from models.batch import Example
from models.tasks.phonemes.codec import CODEC
from models.trainer import train

TESTED, JUDGED = {"george", "theo"}, {"yweweler"}


def part(name: str, split: str) -> str:
    _, speaker, number = name.removesuffix(".wav").split("_")
    if split == "official":
        return "test" if int(number) < 5 else "validation" if int(number) < 10 else "train"
    return "test" if speaker in TESTED else "validation" if speaker in JUDGED else "train"


def zipped(data: Path, split: str, into: Path) -> None:
    """The recordings and a manifest with a line for each phoneme; 14 lines that cover no time are left out."""
    with (data / "phonemes/phones.tsv").open(encoding="utf-8") as file:
        lines = [line for line in csv.reader(file, delimiter="\t") if float(line[2]) > float(line[1])]
    manifest = io.StringIO()
    writer = csv.writer(manifest, delimiter="\t", lineterminator="\n")
    writer.writerow(["audio", "start", "end", "label", "split"])
    writer.writerows([*line, part(line[0], split)] for line in lines)
    with zipfile.ZipFile(data / "phonemes/recordings.zip") as source, zipfile.ZipFile(into, "w") as made:
        for entry in source.infolist():
            made.writestr(entry.filename, source.read(entry))
        made.writestr("manifest.tsv", manifest.getvalue())


def rows(data: Path, split: str) -> dict[str, list]:
    card = catalog.card("phonemes")
    parts: dict[str, list] = {"train": [], "validation": [], "test": []}
    with tempfile.NamedTemporaryFile(suffix=".zip") as file:
        zipped(data, split, Path(file.name))
        for _, fields in card.archive(Archive(Path(file.name))):
            row = card.row.model_validate(fields)
            parts[row.split].append(row)
    return parts


def linear(parts: dict[str, list], judged: str) -> float:
    """Share of frames that linear discriminant analysis over 9 neighbouring frames gets right."""
    config = catalog.card("phonemes").config(features="mel", deltas=0, normalise="training", speed=0.0)
    state = CODEC.learn(parts["train"], config)

    def read(name: str) -> tuple[np.ndarray, np.ndarray]:
        examples = [e for row in parts[name] for e in CODEC.examples(row, state, config, "test")]
        return np.concatenate([_beside(e) for e in examples]), np.concatenate([e.answer.frames for e in examples])

    return float(LinearDiscriminantAnalysis().fit(*read("train")).score(*read(judged)))


def _beside(example: Example) -> np.ndarray:
    padded = np.pad(example.arrays["frames"], ((4, 4), (0, 0)), mode="edge")
    return np.concatenate([padded[i : i + example.length] for i in range(9)], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", type=json.loads, default={})
    parser.add_argument("--only", choices=["official", "unseen"])
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--zip", type=Path)
    asked = parser.parse_args()
    judged = "validation" if asked.validate else "test"
    for split in [asked.only] if asked.only else ["official", "unseen"]:
        if asked.zip:
            zipped(asked.data, split, asked.zip)
            return
        parts = rows(asked.data, split)
        counts = {name: len(found) for name, found in parts.items()}
        if asked.validate:
            parts["test"] = []
        chosen = catalog.card("phonemes").config(**{"seed": asked.seed, **asked.config})
        print(f"{split} {counts}, LDA: {judged} {linear(parts, judged):.2%} of frames", flush=True)
        began = time.monotonic()
        trained = train(catalog.codec("phonemes"), catalog.network("phonemes"), parts, chosen, monitor=Spoken())
        metrics = trained.metrics
        print(
            f"{split}: {judged} frame accuracy {metrics[f'{judged}_frame_accuracy']:.2%}, "
            f"phone error rate {metrics[f'{judged}_phone_error_rate']:.2%}, weight {trained.state.weight}, "
            f"{trained.parameters} parameters, {time.monotonic() - began:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
