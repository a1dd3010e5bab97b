"""The parts that read a signal: padding changes nothing, and every option changes something."""

from __future__ import annotations

import pytest
import torch

from models.families.classify.network import SignalReader
from models.families.classify.schema import SignalConfig
from models.nets.augment import Augment, Mask
from models.nets.front import Front
from models.nets.pooling import Pooling

LENGTHS = torch.tensor([7, 1, 4])
STILL = {"jitter": 0.0, "scaling": 0.0, "shifting": 0.0, "warping": 0.0, "cropping": 0.0}


def augment(**options: float) -> Augment:
    """Learning, with nothing but these options."""
    return Augment(**{**STILL, **options}, places=5).train()


def padded(width: int, *, filled: float, seed: int = 0) -> torch.Tensor:
    """(3, 9, width): numbers within LENGTHS, `filled` past them."""
    x = torch.randn(3, 9, width, generator=torch.Generator().manual_seed(seed))
    past = torch.arange(9) >= LENGTHS[:, None]
    return x.masked_fill(past[:, :, None], filled)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("layers", [0, 1, 3])
def test_what_stands_past_the_end_never_reaches_a_convolution(layers: int, causal: bool) -> None:
    torch.manual_seed(0)
    front = Front(5, 6, layers=layers, kernel=5, causal=causal, dropout=0.0).eval()
    quiet, loud = (front(padded(5, filled=filled), LENGTHS) for filled in (0.0, 1e6))
    for row, length in enumerate(LENGTHS):
        alone = front(padded(5, filled=0.0)[row : row + 1, :length], LENGTHS[row : row + 1])[0]
        assert alone.shape == (length, front.size)
        for together in (quiet, loud):
            torch.testing.assert_close(together[row, :length], alone, rtol=0, atol=1e-6)


def test_a_causal_front_looks_at_no_later_step_and_another_does() -> None:
    torch.manual_seed(0)
    x, lengths = torch.randn(1, 9, 5), torch.tensor([9])
    later = x.clone()
    later[:, 6:] += 1
    for causal in (True, False):
        front = Front(5, 6, layers=2, kernel=3, causal=causal, dropout=0.0).eval()
        same = torch.allclose(front(x, lengths)[:, :6], front(later, lengths)[:, :6], atol=1e-6)
        assert same is causal


@pytest.mark.parametrize("kind", ["mean_max", "last", "attention"])
def test_a_pool_reads_each_sequence_to_its_end(kind: str) -> None:
    torch.manual_seed(0)
    pool = Pooling(kind, 6)
    steps = padded(6, filled=0.0)
    last = steps[torch.arange(3), LENGTHS - 1]
    found = pool(steps, last, LENGTHS)
    assert found.shape == (3, pool.size)
    for row, length in enumerate(LENGTHS):
        alone = pool(steps[row : row + 1, :length], last[row : row + 1], LENGTHS[row : row + 1])
        torch.testing.assert_close(found[row : row + 1], alone, rtol=0, atol=1e-6)


def test_mean_and_greatest_are_what_they_say() -> None:
    steps = torch.tensor([[[1.0], [-3.0], [0.0]]])
    assert Pooling("mean_max", 1)(steps, steps[:, 1], torch.tensor([2])).tolist() == [[1.0, -1.0]]


def test_signals_are_left_alone_when_not_learning_or_nothing_is_asked() -> None:
    x = padded(5, filled=0.0)
    for one in (Augment(jitter=1, scaling=1, shifting=1, warping=0.9, cropping=0.9, places=5).eval(), augment()):
        found, lengths = one(x, LENGTHS)
        assert found.equal(x)
        assert lengths.equal(LENGTHS)


@pytest.mark.parametrize("name", STILL)
def test_each_kind_of_noise_changes_a_signal(name: str) -> None:
    torch.manual_seed(0)
    x = padded(5, filled=0.0)
    found, lengths = augment(**{name: 0.5})(x, LENGTHS)
    assert found.shape[0] == 3
    assert found.isfinite().all()
    assert ((lengths >= 1) & (lengths <= LENGTHS)).all()
    assert lengths.equal(LENGTHS) is (name != "cropping")
    assert found.shape != x.shape or not found.equal(x)


def test_a_warped_signal_has_its_own_values_in_its_own_order() -> None:
    torch.manual_seed(0)
    x = torch.arange(20.0)[None, :, None].expand(4, -1, 1)
    lengths = torch.full((4,), 20)
    found, kept = augment(warping=0.6)(x, lengths)
    assert kept.equal(lengths)
    assert (found.diff(dim=1) >= 0).all()
    torch.testing.assert_close(found[:, [0, -1], 0], torch.tensor([[0.0, 19.0]]).expand(4, -1), rtol=0, atol=1e-4)
    assert (found[:, 10, 0] - 10).abs().max() > 0.5


def test_a_cropped_signal_is_a_piece_of_it() -> None:
    torch.manual_seed(1)
    x = torch.arange(20.0)[None, :, None].expand(4, -1, 1)
    found, kept = augment(cropping=0.8)(x, torch.full((4,), 20))
    assert kept.unique().numel() == 1
    assert found.shape[1] == kept[0] < 20
    torch.testing.assert_close(found.diff(dim=1), torch.ones(4, int(kept[0]) - 1, 1), rtol=0, atol=1e-4)
    assert ((found >= 0) & (found <= 19)).all()


def test_only_places_are_shifted_and_each_row_by_its_own() -> None:
    torch.manual_seed(0)
    x = torch.zeros(3, 4, 5)
    found, _ = Augment(**{**STILL, "shifting": 1.0}, places=2).train()(x, torch.tensor([4, 4, 4]))
    assert found[:, :, 2:].equal(x[:, :, 2:])
    assert found[:, :, :2].equal(found[:, :1, :2].expand(3, 4, 2))
    assert found[:, 0, :2].unique().numel() == 6


@pytest.mark.parametrize(
    "changed",
    [
        {"convolutions": 1},
        {"channels": 5},
        {"kernel": 3},
        {"pooling": "last"},
        {"pooling": "attention"},
        {"cell": "gru"},
        {"hidden": 5},
        {"layers": [4, 3]},
        {"bidirectional": False},
    ],
)
def test_each_option_makes_another_network(changed: dict) -> None:
    options = {"hidden": 4, "channels": 4}
    nets = [SignalReader(3, 2, SignalConfig.model_validate(config)) for config in (options, {**options, **changed})]
    shapes = [{name: tuple(tensor.shape) for name, tensor in net.state_dict().items()} for net in nets]
    assert shapes[0] != shapes[1]


@pytest.mark.parametrize("name", [*STILL, "dropout"])
def test_each_option_of_learning_makes_another_pass(name: str) -> None:
    said = []
    for config in ({**STILL, "dropout": 0.0}, {**STILL, "dropout": 0.0, name: 0.5}):
        torch.manual_seed(0)
        net = SignalReader(5, 2, SignalConfig(hidden=4, channels=4, **config), places=5).train()
        said.append(net(padded(5, filled=0.0), LENGTHS))
    assert not torch.allclose(said[0], said[1])


def test_an_even_kernel_is_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="kernel 4 is even; an odd number has a middle"):
        SignalConfig(kernel=4)


def test_a_mask_hides_a_share_of_steps_and_of_features_within_each_row_while_learning() -> None:
    torch.manual_seed(0)
    mask, lengths = Mask(0.5), torch.tensor([40, 10])
    hidden = torch.stack([mask.train()(torch.ones(2, 40, 20), lengths) == 0 for _ in range(100)])
    steps, features = hidden.all(dim=3), hidden.all(dim=2)
    assert not steps[:, 1, 10:].any()
    for row, length in enumerate(lengths):
        assert 0 < steps[:, row].sum(1).max() <= 0.5 * length + 1
        assert 0 < features[:, row].sum(1).max() <= 0.5 * 20 + 1
        assert 0.15 < steps[:, row].float().sum() / (100 * length) < 0.35
    x = torch.randn(2, 40, 20)
    assert torch.equal(mask.eval()(x, lengths), x)
    assert torch.equal(Mask(0.0).train()(x, lengths), x)
