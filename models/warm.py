"""Weights of a version as the start of a training. Knows the contract of a task, no task.

What was counted is counted anew from the new data; weights are carried over where they fit: tensors of one
name and shape as they are, tables of words or labels row by row, each to the row of the same word or label.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from models import artifact
from models.task import AnyNetwork, Schema


@dataclass(frozen=True, kw_only=True)
class Warm:
    """A version to begin from."""

    name: str
    state: Schema
    tensors: Mapping[str, Tensor]


def read(folder: Path, name: str) -> Warm:
    """A verified artifact's folder as a start. Raises `ArtifactError`."""
    found = artifact.read(folder)
    return Warm(name=name, state=found.state, tensors=load_file(folder / artifact.WEIGHTS))


def transfer(network: AnyNetwork, net: nn.Module, state: Schema, warm: Warm) -> list[str]:
    """Carry weights over into a fresh net; returns what was and what was not carried, a sentence each."""
    here, there = network.names(state), network.names(warm.state)
    whole, said = 0, []
    parameters = dict(net.named_parameters())
    for name, parameter in parameters.items():
        old, to, of = warm.tensors.get(name), here.get(name, ()), there.get(name, ())
        if old is None:
            said.append(f"{name} begins anew: {warm.name} has none")
        elif len(to) != len(of) or old.shape[len(of) :] != parameter.shape[len(to) :]:
            said.append(f"{name} begins anew: it is {_shape(parameter)} here, {_shape(old)} in {warm.name}")
        else:
            share = _carry(parameter.data, old, to, of)
            whole += share == 1.0
            if share < 1.0:
                said.append(f"{name}: {share:.1%} carried over, by what its rows stand for; the rest begins anew")
    return [f"beginning from {warm.name}: {whole} of {len(parameters)} tensors are carried over whole", *said]


def _carry(into: Tensor, old: Tensor, to: Sequence[Sequence[Hashable]], of: Sequence[Sequence[Hashable]]) -> float:
    """Copy what both name, along the named axes; returns the share of `into` that was filled."""
    targets, sources = [], []
    for axis, (wanted, had) in enumerate(zip(to, of, strict=True)):
        places = {name: place for place, name in enumerate(had)}
        pairs = [(place, places[name]) for place, name in enumerate(wanted) if name in places]
        shape = [-1 if each == axis else 1 for each in range(len(to))]
        targets.append(torch.tensor([new for new, _ in pairs], dtype=torch.int64).view(shape))
        sources.append(torch.tensor([known for _, known in pairs], dtype=torch.int64).view(shape))
    into[tuple(targets)] = old[tuple(sources)].to(into.dtype)
    return math.prod(target.numel() / max(1, len(names)) for target, names in zip(targets, to, strict=True))


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"
