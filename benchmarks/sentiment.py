"""Accuracy on movie-review sentences (Pang and Lee 2005): ours from scratch and with vectors, against tf-idf.

    python benchmarks/sentiment.py DATA [--seed 0]

DATA holds `sentiment/rt-polarity.pos|neg` and `vectors/`. Split: shuffle with seed 1, 8530/1066/1066.
Needs `pip install .[benchmark]` for the linear baseline.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

import word_vectors
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from spoken import Spoken

from models import catalog
from models.trainer import train
from models.vectors import WordVectors


def rows(data: Path) -> dict[str, list]:
    card = catalog.card("sentiment")
    made = []
    for label, ending in (("positive", "pos"), ("negative", "neg")):
        text = (data / f"sentiment/rt-polarity.{ending}").read_text(encoding="utf-8")
        made += [card.row(text=line, label=label) for line in text.splitlines() if line.strip()]
    random.Random(1).shuffle(made)  # noqa: S311  a split, no secret
    return {"train": made[:8530], "validation": made[8530:9596], "test": made[9596:]}


def linear(parts: dict[str, list]) -> float:
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+")  # noqa: S106  signs count too
    model = LogisticRegression(C=10, max_iter=1000)
    model.fit(vectorizer.fit_transform(r.text for r in parts["train"]), [r.label for r in parts["train"]])
    return model.score(vectorizer.transform(r.text for r in parts["test"]), [r.label for r in parts["test"]])


def ours(parts: dict[str, list], vectors: WordVectors | None, config: dict) -> tuple[float, float]:
    card = catalog.card("sentiment")
    chosen = card.config(**config, vectors="given" if vectors else None)
    began = time.monotonic()
    trained = train(
        catalog.codec("sentiment"), catalog.network("sentiment"), parts, chosen, vectors=vectors, monitor=Spoken()
    )
    return trained.metrics["test_accuracy"], time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", type=json.loads, default={})
    parser.add_argument("--only", choices=["scratch", "vectors"])
    asked = parser.parse_args()
    parts = rows(asked.data)
    config = {"seed": asked.seed, **asked.config}
    print(f"tf-idf + logistic regression: {linear(parts):.3%}")
    if asked.only != "vectors":
        print("from scratch: {:.3%} in {:.0f} s".format(*ours(parts, None, config)))
    if asked.only != "scratch":
        vectors = word_vectors.read(asked.data)
        print("with vectors: {:.3%} in {:.0f} s".format(*ours(parts, vectors, config)))


if __name__ == "__main__":
    main()
