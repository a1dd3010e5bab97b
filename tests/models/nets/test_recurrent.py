"""The encoder against the equations written out in NumPy, step by step, and against itself packed."""

from __future__ import annotations

import typing

import numpy as np
import pytest
import torch

from models.batch import pad
from models.nets.gates import gates
from models.nets.recurrent import CELLS, GATES, VECTORS, Encoder
from models.task import Config
from tests.models.nets.equations import WRITTEN, Written


def encoder(features: int, widths: list[int], cell: str, *, spread: float = 1.0, **options: bool) -> Encoder:
    """An encoder in which every weight counts, biases and peepholes too."""
    torch.manual_seed(3)
    made = Encoder(features, widths, cell=cell, **options).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=spread)
    return made


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


def transcribed(cell: str, layer: torch.nn.Module, x: np.ndarray, suffix: str = "") -> Written:
    """The equations with the weights of one direction of a layer."""
    held = {name: weight.detach().double().numpy() for name, weight in layer.named_parameters()}
    weights = {"w": held["weight_ih_l0" + suffix], "u": held["weight_hh_l0" + suffix]}
    if "bias_l0" + suffix in held:
        weights["b"] = held["bias_l0" + suffix]
    else:
        weights["b"], weights["bu"] = held["bias_ih_l0" + suffix], held["bias_hh_l0" + suffix]
        if cell != "gru":
            weights["b"] = weights["b"] + weights.pop("bu")
    if cell == "peephole":
        weights["p"] = held["peephole_l0" + suffix]
    return WRITTEN[cell](x.astype(np.float64), weights)


def both_ways(cell: str, layer: torch.nn.Module, x: np.ndarray) -> tuple[Written, Written]:
    """Forward, and backward turned round so that it stands in the order of the steps."""
    back = transcribed(cell, layer, x[::-1], "_reverse")
    memory = None if back.memory is None else back.memory[::-1]
    turned = {name: gate[::-1] for name, gate in back.gates.items()}
    return transcribed(cell, layer, x), Written(back.hidden[::-1], memory, turned)


def test_every_cell_that_may_be_asked_for_is_built_and_transcribed() -> None:
    offered = set(typing.get_args(Config.model_fields["cell"].annotation))
    assert offered == set(CELLS) == set(VECTORS) == set(GATES) == set(WRITTEN)


@pytest.mark.parametrize("cell", CELLS)
def test_every_step_equals_the_equations(cell: str) -> None:
    """Example 3 of the textbook: 10 steps, 5 features, 4 units, from a zero state."""
    made, x = encoder(5, [4], cell), numbers(10, 5)
    steps, last = made(torch.from_numpy(x)[None], torch.tensor([10]))
    expected = transcribed(cell, made.layers[0], x).hidden
    np.testing.assert_allclose(steps[0].detach().numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(last[0].detach().numpy(), expected[-1], atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_both_directions_and_two_widths_equal_the_equations(cell: str) -> None:
    made, x = encoder(3, [4, 2], cell, bidirectional=True), numbers(7, 3)
    steps, last = made(torch.from_numpy(x)[None], torch.tensor([7]))
    expected = x
    for layer in made.layers:
        expected = np.concatenate([way.hidden for way in both_ways(cell, layer, expected)], axis=1)
    np.testing.assert_allclose(steps[0].detach().numpy(), expected, atol=2e-6)
    np.testing.assert_allclose(last[0].detach().numpy(), np.concatenate([expected[-1, :2], expected[0, 2:]]), atol=2e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_padding_and_company_change_nothing(cell: str) -> None:
    made = encoder(3, [6, 5], cell, spread=0.5, bidirectional=True)
    items = [numbers(length, 3) for length in (4, 9, 1)]
    padded = pad(items, value=7.0)
    steps, last = made(torch.from_numpy(padded), torch.tensor([4, 9, 1]))
    for index, item in enumerate(items):
        alone, alone_last = made(torch.from_numpy(item)[None], torch.tensor([len(item)]))
        torch.testing.assert_close(steps[index, : len(item)], alone[0])
        torch.testing.assert_close(last[index], alone_last[0])
        assert not steps[index, len(item) :].any()


@pytest.mark.parametrize("cell", CELLS)
def test_padding_gets_no_gradient_and_every_weight_gets_one(cell: str) -> None:
    made = encoder(3, [6, 5], cell, spread=0.5, bidirectional=True).train()
    x = torch.from_numpy(numbers(3, 9, 3)).requires_grad_()
    lengths = torch.tensor([4, 9, 1])
    steps, last = made(x, lengths)
    (steps.square().sum() + last.square().sum()).backward()
    past = torch.arange(9) >= lengths[:, None]
    assert not x.grad[past].any()
    assert all(parameter.grad.isfinite().all() and parameter.grad.any() for parameter in made.parameters())


@pytest.mark.parametrize("cell", CELLS)
def test_going_on_from_a_state_equals_reading_it_all(cell: str) -> None:
    made = encoder(3, [6, 4], cell, spread=0.5)
    assert made.state_size == VECTORS[cell] * 10
    x = torch.from_numpy(numbers(2, 9, 3))
    whole, last = made(x, torch.tensor([9, 9]))
    state, parts = torch.zeros(2, made.state_size), []
    for part in x.split([1, 1, 5, 2], dim=1):
        steps, state = made.advance(part, state)
        assert state.shape == (2, made.state_size)
        parts.append(steps)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-6, rtol=0)
    at = VECTORS[cell] * 6  # h comes first among the vectors of a layer
    torch.testing.assert_close(state[:, at : at + 4], last, atol=1e-6, rtol=0)


def test_an_encoder_that_reads_backwards_cannot_go_on() -> None:
    made = encoder(3, [4], "lstm", bidirectional=True)
    with pytest.raises(ValueError, match="cannot go on from a state"):
        made.advance(torch.zeros(1, 1, 3), torch.zeros(1, made.state_size))


@pytest.mark.parametrize("cell", CELLS)
def test_gates_equal_the_equations(cell: str) -> None:
    made, x = encoder(3, [4, 2], cell, bidirectional=True), numbers(7, 3)
    found, expected = gates(made, x), x
    assert [(entry.layer, entry.direction, entry.cell) for entry in found] == [
        (0, "forward", cell), (0, "backward", cell), (1, "forward", cell), (1, "backward", cell)
    ]  # fmt: skip
    for index, layer in enumerate(made.layers):
        ways = both_ways(cell, layer, expected)
        for entry, written in zip(found[2 * index :], ways, strict=False):
            assert list(entry.gates) == list(written.gates)
            for name, gate in written.gates.items():
                np.testing.assert_allclose(entry.gates[name], gate, atol=2e-6)
            np.testing.assert_allclose(entry.hidden, written.hidden, atol=2e-6)
            assert (entry.memory is None) == (written.memory is None)
            if written.memory is not None:
                np.testing.assert_allclose(entry.memory, written.memory, atol=2e-6)
        expected = np.concatenate([way.hidden for way in ways], axis=1)


@pytest.mark.parametrize("shift", [-300.0, 300.0])
def test_the_stabiliser_holds_where_exp_would_not(shift: float) -> None:
    """The same shift of every input gate cancels in c / n, though exp(300) is no float32."""
    made, x = encoder(3, [4], "slstm"), torch.from_numpy(numbers(1, 8, 3))
    expected, _ = made(x, torch.tensor([8]))
    made.layers[0].bias_l0.data[:4] += shift
    shifted, _ = made(x, torch.tensor([8]))
    torch.testing.assert_close(shifted, expected, atol=1e-4, rtol=0)
    shifted.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in made.parameters())


def test_the_gradient_of_slstm_is_that_of_its_equations() -> None:
    """No gradient flows through the stabiliser, and none is missed."""
    made = encoder(3, [2], "slstm").double()
    x = torch.from_numpy(numbers(2, 5, 3)).double().requires_grad_()
    weights = [made.layers[0].weight_ih_l0, made.layers[0].weight_hh_l0, made.layers[0].bias_l0]
    assert torch.autograd.gradcheck(lambda x, *_: made(x, torch.tensor([5, 3])), (x, *weights))


@pytest.mark.parametrize("cell", ["lstm", "peephole", "coupled", "slstm"])
def test_the_forget_gate_starts_open(cell: str) -> None:
    layer = Encoder(2, [3], cell=cell).layers[0]
    bias = layer.bias_ih_l0 + layer.bias_hh_l0 if cell == "lstm" else layer.bias_l0
    at = 0 if cell == "coupled" else 3
    assert bias[at : at + 3].tolist() == [1, 1, 1]
    assert not bias[:at].any()
    assert not bias[at + 3 :].any()


def test_the_weights_of_old_artifacts_keep_their_names() -> None:
    names = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    for cell in ("lstm", "gru"):
        made = Encoder(2, [3, 4], cell=cell, bidirectional=True)
        expected = [f"layers.{i}.{name}{way}" for i in (0, 1) for way in ("", "_reverse") for name in names]
        assert list(made.state_dict()) == expected
