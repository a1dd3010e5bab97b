"""What tasks that label steps share: chains against all of their paths, windows, and the loss of a step."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from models.batch import Batch, Example
from models.families.tag.chain import Chain
from models.families.tag.codec import FEW, UNTAUGHT, Read, TagCodec, counted, runs
from models.families.tag.network import TagNetwork
from models.families.tag.schema import TagState
from models.nets.crf import NEVER, Crf, negative_log_likelihood

LABELS = 3
LENGTHS = np.array([4, 1, 3, 5])


def scored(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores (B, T, C) and transitions (C, C), one of them barred; padding is full of nonsense."""
    rng = np.random.default_rng(seed)
    scores, transitions = rng.normal(size=(len(LENGTHS), max(LENGTHS), LABELS)) * 2, rng.normal(size=(LABELS, LABELS))
    for row, length in zip(scores, LENGTHS, strict=True):
        row[length:] = 1e3
    transitions[0, 2] = NEVER
    return scores, transitions


def paths(scores: np.ndarray, transitions: np.ndarray, length: int) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every path of a chain and its score, one by one."""
    for path in itertools.product(range(LABELS), repeat=int(length)):
        score = sum(scores[t, label] for t, label in enumerate(path))
        yield path, float(score + sum(transitions[a, b] for a, b in itertools.pairwise(path)))


@pytest.mark.parametrize("seed", range(4))
def test_the_best_path_and_all_probabilities_are_those_of_enumeration(seed: int) -> None:
    scores, transitions = scored(seed)
    chain = Chain(scores, transitions, LENGTHS)
    best, marginals = chain.best(), chain.marginals()
    ends_with_zero = np.array([True, False, False])
    for row, length in enumerate(LENGTHS):
        found = dict(paths(scores[row], transitions, length))
        total = np.logaddexp.reduce(list(found.values()))
        assert tuple(best[row]) == max(found, key=lambda path: found[path])
        assert chain.total[row] == pytest.approx(total)
        weight = {path: np.exp(score - total) for path, score in found.items()}
        for t, label in itertools.product(range(length), range(LABELS)):
            assert marginals[row, t, label] == pytest.approx(sum(w for p, w in weight.items() if p[t] == label))
        for start, end in itertools.combinations(range(length + 1), 2):
            labels = best[row][start:end].tolist()
            holding = {p: w for p, w in weight.items() if list(p[start:end]) == labels}
            assert chain.probability(row, start, labels) == pytest.approx(sum(holding.values()))
            then = sum(w for p, w in holding.items() if end == length or p[end] == 0)
            assert chain.probability(row, start, labels, then=ends_with_zero) == pytest.approx(then, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_the_loss_is_the_negative_logarithm_of_the_true_path_among_all(seed: int) -> None:
    scores, transitions = scored(seed)
    rng = np.random.default_rng(seed)
    labels = np.full(scores.shape[:2], UNTAUGHT)
    for row, length in enumerate(LENGTHS):
        labels[row, :length] = rng.integers(0, 2, length)  # 0 -> 2 never
    found = negative_log_likelihood(
        torch.from_numpy(scores),
        torch.from_numpy(transitions).expand(len(LENGTHS), -1, -1),
        torch.from_numpy(labels),
        torch.from_numpy(LENGTHS),
    )
    for row, length in enumerate(LENGTHS):
        every = dict(paths(scores[row], transitions, length))
        expected = np.logaddexp.reduce(list(every.values())) - every[tuple(labels[row, :length].tolist())]
        assert found[row].item() == pytest.approx(expected)


def test_a_field_puts_start_and_end_into_the_scores_and_bars_what_may_not_be() -> None:
    allowed = torch.tensor([[True, True, False], [True, True, True], [True, True, True]])
    field = Crf(allowed, torch.tensor([True, True, False]))
    with torch.no_grad():
        field.starts += torch.tensor([1.0, 2.0, 3.0])
        field.ends += torch.tensor([10.0, 20.0, 30.0])
    scores, transitions = field(torch.zeros(2, 3, LABELS), torch.tensor([3, 1]))
    assert scores[0].tolist() == [[1, 2, 3 + NEVER], [0, 0, 0], [10, 20, 30]]
    assert scores[1].tolist() == [[11, 22, 33 + NEVER], [0, 0, 0], [0, 0, 0]]
    assert transitions[1].tolist() == [[0, 0, NEVER], [0, 0, 0], [0, 0, 0]]
    assert set(field.state_dict()) == {"transitions", "starts", "ends"}


def test_a_field_learns_that_what_is_barred_has_no_probability() -> None:
    field = Crf(torch.tensor([[True, False], [True, True]]), torch.tensor([True, True]))
    scores, transitions = field(torch.tensor([[[0.0, 5.0], [0.0, 5.0], [0.0, 9.0]]]), torch.tensor([3]))
    chain = Chain(scores.detach().numpy(), transitions[0].detach().numpy(), np.array([3]))
    assert chain.best()[0].tolist() == [1, 1, 1]
    assert chain.probability(0, 0, [0, 1]) == 0
    loss = negative_log_likelihood(scores, transitions, torch.tensor([[1, 1, 1]]), torch.tensor([3]))
    loss.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in field.parameters())


@pytest.mark.parametrize("seed", range(4))
def test_the_likely_stretches_are_those_of_enumeration(seed: int) -> None:
    """Label 1 begins a stretch and 2 goes on with it; 0 begins another, that 2 goes on with as well."""
    scores, transitions = scored(seed)
    expected: dict[tuple[int, int, int, int], float] = {}
    for row, length in enumerate(LENGTHS):
        found = dict(paths(scores[row], transitions, length))
        total = np.logaddexp.reduce(list(found.values()))
        for path, score in found.items():
            for start, label in enumerate(path):
                if label < 2:
                    end = next((t for t in range(start + 1, length) if path[t] != 2), int(length))
                    key = (row, start, end, 1 - label)
                    expected[key] = expected.get(key, 0.0) + np.exp(score - total)
    chain = Chain(scores, transitions, LENGTHS)
    for least in (0.02, 0.3):
        told = {(*key, k): weight for *key, k, weight in chain.stretches([1, 0], [2, 2], least)}
        likely = {key: weight for key, weight in expected.items() if weight >= least}
        assert told.keys() == likely.keys()
        assert likely, "nothing was compared"
        assert all(told[key] == pytest.approx(weight, abs=1e-12) for key, weight in likely.items())
    assert list(chain.stretches([], [], 0.1)) == []


def test_runs_are_the_longest_stretches_of_one_label() -> None:
    assert runs(["a", "a", "b", "a"]) == [(0, 2), (2, 3), (3, 4)]
    assert runs([]) == []
    assert runs([7]) == [(0, 1)]


def test_labels_are_counted_in_a_fixed_order() -> None:
    assert counted([["b", "a"], ["b"]], first=["z"]) == {"labels": ["z", "a", "b"], "counts": [0, 1, 2], "rows": 2}


class LetterCodec(TagCodec):
    """Letters, each labelled by itself; windows of two."""

    card = None

    def learn(self, rows, config, vectors=None):
        return TagState(**counted(rows))

    def read(self, item, state, config) -> Example:
        numbers = np.array([ord(letter) for letter in item], dtype=np.int64)
        ends = [*range(2, len(item), 2), len(item)]
        return Example(arrays={"letters": numbers}, length=len(item), context=Read(ends=ends, of=item))

    def labels(self, row, example):
        return list(row)

    def predict(self, run, batch, params, state): ...

    def score(self, outputs, answers): ...


def test_rows_are_read_in_windows_with_their_labels_and_few_rows_often() -> None:
    codec = LetterCodec()
    state = codec.learn(["abc", "b"], None)
    taught = list(codec.examples("abc", state, None, "train"))
    assert len(taught) == FEW // 2
    (asked,) = codec.examples("bxd", state, None, "validation")
    assert asked.answer == ["b", "x", "d"]
    batch = codec.collate([taught[0], asked])
    assert batch.arrays["letters"].tolist() == [[97, 98], [99, 0], [98, 120], [100, 0]]
    assert batch.arrays["labels"].tolist() == [[0, 1], [2, -1], [1, -1], [-1, -1]]
    assert batch.arrays["lengths"].tolist() == [2, 1, 2, 1]
    assert [context.of for context in batch.contexts] == ["abc", "bxd"]
    assert "labels" not in codec.collate([codec.example("ab", None, state, None)]).arrays


class LetterNetwork(TagNetwork):
    """One number a step to two labels."""

    def build(self, state, config):
        net = nn.Module()
        net.output = nn.Linear(1, 2)
        net.forward = net.output.forward
        return net

    def inputs(self, net):
        return {"values": ("B", "T", 1)}


def test_a_step_without_a_taught_label_costs_nothing_and_a_fresh_net_knows_how_often_labels_are() -> None:
    network = LetterNetwork()
    net = network.build(None, None)
    network.initialise(net, TagState(labels=["a", "b"], counts=[2, 0], rows=1), None, None)
    shares = torch.softmax(net.output.bias, 0)
    assert shares.tolist() == pytest.approx([0.75, 0.25])
    arrays = {"values": torch.zeros(1, 3, 1), "labels": torch.tensor([[0, UNTAUGHT, 1]])}
    total, count = network.loss(net, Batch(arrays=arrays))
    assert count == 2
    assert total.item() == pytest.approx(-np.log(0.75) - np.log(0.25))
    assert network.functions(net)["forward"].outputs == {"scores": ("B", "T", 2)}
