"""Sends sequences step by step, in pieces of any size. Knows the contract of a stream, no task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from models.predictor import Predictor
from models.stream import Memory, Packed, Sent, Stepper
from models.task import StepCard

CLOSE = 1e-5
PIECES = (1, 3, 1000)


def stepper(predictor: Predictor) -> Stepper:
    found = predictor.stepper()
    assert isinstance(found, Stepper), found
    return found


def stepped(
    predictor: Predictor, steps: Sequence[Any], size: int, *, memory: Memory | None = None, **beside: Any
) -> tuple[list[Any], Memory]:
    """The outputs of steps sent in pieces, and what is left behind; what is laid down between them is packed."""
    card = predictor.codec.card.stream
    assert card is not None
    item, params = card.item.model_validate(beside.get("item", {})), beside.get("params", card.params())
    held, asked, known, outputs = memory or {}, stepper(predictor), {}, []
    for start in range(0, len(steps), size):
        sent = Sent(steps=_parsed(card, steps[start : start + size]), memory=held, item=item, params=params)
        told, held = asked.answer([asked.prepare(sent)], params)[0]
        held = Packed.of(held, known).memory()
        outputs += told
    assert len(outputs) == len(steps)
    return outputs, held


def together(predictor: Predictor, sequences: Sequence[Sequence[Any]], *, params: Any = None) -> list[list[Any]]:
    """Several sequences in one batch, cut at places of their own, so that they stand at different steps."""
    card = predictor.codec.card.stream
    assert card is not None
    params, asked = params or card.params(), stepper(predictor)
    cuts = [[0, len(s) // (i + 2), len(s) // (i + 2) + 1, len(s)] for i, s in enumerate(sequences)]
    memories: list[Memory] = [{} for _ in sequences]
    outputs: list[list[Any]] = [[] for _ in sequences]
    for part in range(3):
        sent = [
            Sent(steps=_parsed(card, steps[low[part] : low[part + 1]]), memory=memory, item=card.item(), params=params)
            for steps, memory, low in zip(sequences, memories, cuts, strict=True)
        ]
        going = [index for index, each in enumerate(sent) if each.steps]
        prepared = [asked.prepare(sent[index]) for index in going]
        lost = asked.answer(prepared, params)  # the batcher asks again, one by one, when a batch fails
        answers = [asked.answer([each], params)[0] for each in prepared] if part == 1 else lost
        for index, (told, held) in zip(going, answers, strict=True):
            outputs[index] += told
            memories[index] = held
    assert all(len(told) == len(steps) for told, steps in zip(outputs, sequences, strict=True))
    assert all(low <= high for each in cuts for low, high in pairwise(each))
    return outputs


def _parsed(card: StepCard, steps: Sequence[Any]) -> list[Any]:
    return [TypeAdapter(card.step).validate_python(step) for step in steps]


def plain(outputs: Sequence[Any]) -> list[Any]:
    return [None if output is None else output.model_dump() for output in outputs]


def assert_close(found: Any, expected: Any) -> None:
    """Equal, but for numbers, which differ by 1e-5 of their size at most."""
    if isinstance(expected, Mapping):
        assert found.keys() == expected.keys()
        for name in expected:
            assert_close(found[name], expected[name])
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=CLOSE, abs=CLOSE)
    else:
        assert found == expected


def assert_forks(predictor: Predictor, steps: Sequence[Any]) -> None:
    """Two that go on from one place say what a third says that was sent all: the first does not disturb the second."""
    half = len(steps) // 2
    _, held = stepped(predictor, steps[:half], 1000)
    before = {name: array.copy() for name, array in held.items()}
    once, _ = stepped(predictor, steps[half:], 2, memory=held)
    twice, _ = stepped(predictor, steps[half:], 1000, memory=held)
    whole, _ = stepped(predictor, steps, 1000)
    assert_close(plain(once), plain(whole[half:]))
    assert_close(plain(twice), plain(whole[half:]))
    for name, array in held.items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
