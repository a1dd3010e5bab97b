"""A look inside a version: what its encoder's gates say while it reads one item. Knows the contract of a task, no task.

T time steps, H hidden units of a layer. After Karpathy, Johnson and Li 2015, *Visualizing and Understanding
Recurrent Networks* (saturation), and Greff et al. 2017 for the cells.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from torch import Tensor, nn

from models import artifact, catalog
from models.artifact import Artifact
from models.nets.gates import LayerGates, gates
from models.nets.recurrent import Encoder
from models.runtimes import torch_run
from models.task import Fault

LEFT, RIGHT = 0.1, 0.9
"""A gate below or above is as good as shut or open (Karpathy et al. 2015, section 4.2)."""
KEEPS = {"forget", "update"}
"""The gates that say which share of the memory stays."""
OPEN = {"cell", "new"}
"""Candidates, not gates: from -1 to 1, neither open nor shut."""
MOST_STEPS = 2000
LONGEST = 1e6
"""Steps beyond which a half-life is not told apart from for ever."""


def inspect(found: Artifact, item: Any) -> dict[str, Any]:
    """The gates of the version's main encoder at each step of one item, as API.md has them. Raises `Fault`."""
    codec = catalog.codec(found.manifest.task)
    params = codec.card.scoring or codec.card.params()
    example = codec.example(codec.card.parse_item(item), params, found.state, found.config)
    run = torch_run.load(found.manifest.task, found.folder / artifact.WEIGHTS, state=found.state, config=found.config)
    read = _Reading(run.net)
    codec.predict(run, codec.collate([example]), params, found.state)
    encoder, x = read.main()
    if len(x) > MOST_STEPS:
        raise Fault(f"{len(x)} steps; the gates of at most {MOST_STEPS} are shown, so send a shorter item")
    told = gates(encoder, x)
    labels = codec.steps(codec.card.parse_item(item), found.state, found.config)
    return {
        "layers": [_layer(layer) for layer in told],
        "steps": labels if len(labels) == len(x) else [str(step) for step in range(len(x))],
        "saturation": _saturation(told),
        "memory_half_life": _half_life(told[0]),
    }


class _Reading:
    """What each encoder of a network was given to read, in the order in which they first were."""

    def __init__(self, net: nn.Module) -> None:
        self.read: dict[str, list[np.ndarray]] = {}
        self.encoders = {name: module for name, module in net.named_modules() if isinstance(module, Encoder)}
        for name, encoder in self.encoders.items():
            self._watch(name, encoder)

    def _watch(self, name: str, encoder: Encoder) -> None:
        forward, advance = encoder.forward, encoder.advance

        def whole(x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
            self.read.setdefault(name, [x[0, : int(lengths[0])].numpy()])
            return forward(x, lengths)

        def further(x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            self.read.setdefault(name, []).append(x[0].numpy())
            return advance(x, state)

        encoder.forward, encoder.advance = whole, further  # type: ignore[method-assign]

    def main(self) -> tuple[Encoder, np.ndarray]:
        """The encoder called `encoder` where there is one, else the first that read; and x (T, F)."""
        name = "encoder" if "encoder" in self.read else next(iter(self.read))
        return self.encoders[name], np.concatenate(self.read[name])


def _layer(found: LayerGates) -> dict[str, Any]:
    return {
        "layer": found.layer,
        "direction": found.direction,
        "cell": found.cell,
        "gates": {name: _rounded(values) for name, values in found.gates.items()},
        "hidden": _rounded(found.hidden),
        "memory": None if found.memory is None else _rounded(found.memory),
        "memory_half_life": _half_life(found),
    }


def _rounded(values: np.ndarray) -> list[Any]:
    rounded: list[Any] = np.round(values.astype(np.float64), 6).tolist()
    return rounded


def _saturation(layers: list[LayerGates]) -> dict[str, dict[str, float]]:
    """Of each gate, over all layers, steps and units: the share that is nearly shut and the share nearly open."""
    every: dict[str, list[np.ndarray]] = {}
    for layer in layers:
        for name, values in layer.gates.items():
            if name not in OPEN:
                every.setdefault(name, []).append(values.ravel())
    joined = {name: np.concatenate(values) for name, values in every.items()}
    return {
        name: {"left": float((values < LEFT).mean()), "right": float((values > RIGHT).mean())}
        for name, values in joined.items()
    }


def _half_life(layer: LayerGates) -> list[float | None]:
    """Steps in which a unit's memory halves, were its gate as open as it was on (geometric) average.

    None for a cell without such a gate, and where the memory does not fade at all.
    """
    keeps = next((values for name, values in layer.gates.items() if name in KEEPS), None)
    if keeps is None:
        return [None] * layer.hidden.shape[1]
    fading = -np.log(np.maximum(keeps.astype(np.float64), 1e-12)).mean(axis=0)
    lives = np.log(2) / np.maximum(fading, np.log(2) / LONGEST)
    return [None if life >= LONGEST else round(float(life), 4) for life in lives]


def main() -> None:
    """`python -m models.inspection FOLDER`: an item as JSON in, the answer as JSON out."""
    torch.set_num_threads(1)
    try:
        answer = inspect(artifact.read(Path(sys.argv[1])), orjson.loads(sys.stdin.buffer.read()))
    except Fault as fault:
        answer = {"fault": fault.detail, "at": list(fault.at)}
    sys.stdout.buffer.write(orjson.dumps(answer))


if __name__ == "__main__":
    main()
