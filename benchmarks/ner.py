"""Strict entity F1: WNUT17 with given vectors and from scratch, wikigold from scratch.

    python benchmarks/ner.py DATA [wnut|wikigold] [--seed 0]

DATA holds `ner/*.conll`, `ner/emerging.test.annotated` and `vectors/`. WNUT17 (Derczynski et al. 2017) comes in its
own parts; wikigold (Balasuriya et al. 2009) is shuffled with seed 1 and cut 80/10/10. The best epoch is the
validation part's; the network then learns anew from both parts, so that the validation score is of the first fit.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import word_vectors
from spoken import Spoken

from models import catalog
from models.readers import Bad, conll
from models.trainer import train
from models.vectors import WordVectors

CONFIG = {"readers": 3, "refit": True, "epochs": 12, "embedding": 50, "min_count": 2, "word_dropout": 0.2}
WNUT = {"train": "wnut17train.conll", "validation": "emerging.dev.conll", "test": "emerging.test.annotated"}


def rows(path: Path) -> list:
    card = catalog.card("ner")
    read = list(conll(path))
    assert not any(isinstance(record, Bad) for record in read)
    return [card.row.model_validate(record) for _, record in read]


def parts(data: Path, name: str) -> dict[str, list]:
    if name == "wnut":
        return {part: rows(data / "ner" / file) for part, file in WNUT.items()}
    found = rows(data / "ner/wikigold.conll")
    random.Random(1).shuffle(found)  # noqa: S311  a split, no secret
    train_end, end = len(found) * 8 // 10, len(found) * 9 // 10
    return {"train": found[:train_end], "validation": found[train_end:end], "test": found[end:]}


def report(said: str, split: dict[str, list], vectors: WordVectors | None, config: dict) -> None:
    chosen = catalog.card("ner").config(**config, vectors="given" if vectors else None)
    trained = train(
        catalog.codec("ner"), catalog.network("ner"), split, chosen, vectors=vectors, monitor=Spoken(), threads=1
    )
    found = {name: round(value, 4) for name, value in trained.metrics.items()}
    anew = found.get("refit_epochs", 0)
    print(
        f"{said}: test entity F1 {found['test_entity_f1']:.2%} (precision {found['test_precision']:.2%}, "
        f"recall {found['test_recall']:.2%}), validation {found['validation_entity_f1']:.2%}, "
        f"{len(trained.history)} epochs and {anew:.0f} anew in {trained.seconds:.0f} s, seed {chosen.seed}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("name", nargs="?", choices=["wnut", "wikigold"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", type=json.loads, default={})
    parser.add_argument("--only", choices=["scratch", "vectors"])
    asked = parser.parse_args()
    config = {"seed": asked.seed, **CONFIG, **asked.config}
    vectors = word_vectors.read(asked.data)
    for name in [asked.name] if asked.name else ["wnut", "wikigold"]:
        split = parts(asked.data, name)
        if asked.only != "vectors":
            report(f"{name} from scratch", split, None, config)
        if asked.only != "scratch":
            report(f"{name} with vectors", split, vectors, config)


if __name__ == "__main__":
    main()
