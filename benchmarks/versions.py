"""Versions of a given size with random weights, made by the exporter that trainings use. Knows torch and files, no service."""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from models import artifact, catalog
from models.runtimes import int8
from models.runtimes.export import export
from models.runtimes.run import Run
from models.task import Config, Schema

SEED = 0
VOCABULARY = 20_000
CODE_VERSION = "benchmark"


@dataclass(frozen=True, kw_only=True)
class Made:
    """A version's zip, its files, and items that are asked of it."""

    task: str
    folder: Path
    archive: Path
    items: Sequence[Any]


def words() -> list[str]:
    """Made-up words, from 2 to 9 letters."""
    draw = random.Random(SEED)  # noqa: S311
    found: dict[str, None] = {}
    while len(found) < VOCABULARY:
        found["".join(draw.choices(string.ascii_lowercase, k=draw.randint(2, 9)))] = None
    return list(found)


def texts(count: int, *, seed: int = 1) -> list[str]:
    """Texts of 8 to 64 words, 25 in the mean."""
    draw, known = random.Random(seed), words()  # noqa: S311
    lengths = [min(64, 8 + int(draw.expovariate(1 / 18.5))) for _ in range(count)]
    return [" ".join(draw.choices(known, k=length)) for length in lengths]


def series(count: int, *, seed: int = 1) -> list[dict[str, Any]]:
    """Monthly series of 60 values each."""
    draw = random.Random(seed)  # noqa: S311
    return [{"values": [round(100 + 0.3 * t + draw.gauss(0, 5), 3) for t in range(60)]} for _ in range(count)]


def classifier(folder: Path, *, hidden: int = 128, seed: int = SEED, quantize: bool = False) -> Made:
    """The text classifier of the table: 2 bidirectional layers of `hidden` units over 20,000 vectors of 128."""
    card = catalog.card("sentiment")
    config = card.config.model_validate({"hidden": hidden, "layers": 2, "embedding": 128, "quantize": quantize})
    state = card.state.model_validate(
        {"labels": ["negative", "positive"], "counts": [5000, 5000], "vocabulary": words()}
    )
    return _made("sentiment", folder, config, state, texts(512), seed=seed)


def forecaster(folder: Path, *, seed: int = SEED) -> Made:
    """A forecaster: 1 layer of 64 units that reads 50 steps and says 12."""
    card = catalog.card("forecasting")
    config = card.config.model_validate({"hidden": 64, "look_back": 50, "horizon": 12})
    state = card.state.model_validate(
        {"horizon": 12, "look_back": 50, "season": 12, "adjust": False, "log": False, "scale": 0.1, "windows": 100}
    )
    return _made("forecasting", folder, config, state, series(512), seed=seed)


def _made(task: str, folder: Path, config: Config, state: Schema, items: Sequence[Any], *, seed: int) -> Made:
    codec, network = catalog.codec(task), catalog.network(task)
    torch.manual_seed(seed)
    net = network.build(state, config).eval()
    network.initialise(net, state, config, None)
    with torch.no_grad():  # spread the answers: a fresh net says the same of every item
        for name, parameter in net.named_parameters():
            if name.startswith(("output.weight", "head.weight")):
                parameter.mul_(40 if name == "output.weight" else 8)
    params = codec.card.params()
    examples = [codec.example(codec.card.parse_item(item), params, state, config) for item in items[:9]]
    folder.mkdir(parents=True)

    def ask(run: Run) -> None:
        for batch in (examples, examples[:1], examples[-1:]):
            codec.predict(run, codec.collate(batch), params, state)

    save_file(net.state_dict(), folder / artifact.WEIGHTS)
    reason = export(network, net, ask, folder)
    if reason is not None:
        raise SystemExit(reason)
    if config.quantize:
        int8.write(folder)
    artifact.write(
        folder,
        task=task,
        state=state,
        config=config,
        metrics={},
        parameters=sum(parameter.numel() for parameter in net.parameters()),
        code_version=CODE_VERSION,
        created_at=datetime.now(UTC).isoformat(),
    )
    archive = folder.with_suffix(".zip")
    artifact.pack(folder, archive)
    return Made(task=task, folder=folder, archive=archive, items=items)
