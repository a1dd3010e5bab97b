"""Melodies: their likelihood is a true one, the same seed plays the same, a pattern goes on; hostile items are told."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import models.tasks.melody.codec
from models.predictor import Predictor
from models.runtimes.export import export
from models.runtimes.onnx_run import OnnxRun
from models.runtimes.run import Run
from models.runtimes.torch_run import TorchRun
from models.task import Fault
from models.tasks.melody.codec import CODEC, listened
from models.tasks.melody.network import NETWORK, NextKey
from models.tasks.melody.pitches import number
from models.tasks.melody.sampling import Sampler, chosen
from models.tasks.melody.schema import CARD, Item, MelodyConfig, MelodyParams, Output, Row, State
from models.tasks.melody.voices import KEYS, Chords, Notes
from models.trainer import Trained, train
from tests.models.tasks.melodies import SCALE, notes

SMALL: dict[str, Any] = {"hidden": 16, "epochs": 2, "embedding": 8, "dropout": 0.0}


def melodic(times: int = 4, rows: int = 12) -> dict[str, list[Row]]:
    """Scales from C up to B, over and over, begun at different notes; the G is twice as long."""
    made = []
    for index in range(rows):
        pitches = (SCALE[index % 7 :] + SCALE * times)[: 6 * times + index % 5]
        made.append(Row(notes=[{"pitch": pitch, "duration": 2 if pitch == "G" else 1} for pitch in pitches]))
    return {"train": made[2:], "validation": made[:2]}


def choral(rows: int = 12) -> dict[str, list[Row]]:
    """Three chords in turn, and a silence."""
    turn = [["C4", "E4", "G4"], ["F4", "A4", "C5"], ["G3", "D4"], []]
    made = [Row(steps=(turn[index % 4 :] + turn * 4)[: 8 + index], step=0.5) for index in range(rows)]
    return {"train": made[2:], "validation": made[:2]}


def learnt(parts: Mapping[str, list[Row]], **config: Any) -> tuple[Trained, Predictor]:
    chosen_config = MelodyConfig(**{**SMALL, **config})
    trained = train(CODEC, NETWORK, parts, chosen_config)  # type: ignore[arg-type]
    return trained, Predictor(CODEC, trained.state, chosen_config, TorchRun(trained.net, NETWORK))


def ask(predictor: Predictor, *items: Item, **params: Any) -> list[Output]:
    asked = MelodyParams(**params)
    return predictor.answer([predictor.prepare(item, asked) for item in items], asked)


@pytest.fixture(scope="module")
def scales() -> Predictor:
    return learnt(melodic(), hidden=32, epochs=15, lr=0.02, patience=15)[1]


@pytest.fixture(scope="module", params=["joint", "independent"])
def chords(request: pytest.FixtureRequest) -> Predictor:
    return learnt(choral(), hidden=32, epochs=15, lr=0.03, patience=15, chords=request.param)[1]


@pytest.mark.parametrize(
    ("name", "pitch"),
    [
        ("C4", 60),
        ("C", 60),
        ("c", 60),
        ("A4", 69),
        ("F#3", 54),
        ("Bb", 70),
        ("B♭5", 82),
        ("C-1", 0),
        ("Cb4", 59),
        ("G##2", 45),
    ],
)
def test_a_name_is_a_midi_number(name: str, pitch: int) -> None:
    assert number(name) == pitch
    assert Item(notes=notes(name)) == Item(notes=notes(pitch))


HOSTILE: list[tuple[Any, str]] = [
    ({}, "either `notes` (monophonic) or `steps` (polyphonic)"),
    ({"notes": notes(60), "steps": [[60]]}, "either `notes` (monophonic) or `steps` (polyphonic)"),
    ({"notes": []}, "at least 1 item"),
    ({"steps": []}, "at least 1 item"),
    ({"notes": [{}]}, "Field required"),
    ({"notes": notes("H4")}, "'H4' names no pitch; a MIDI number such as 60 or a name such as C4, F#3, Bb does"),
    ({"notes": notes("🎵")}, "'🎵' names no pitch"),
    ({"notes": notes("")}, "'' names no pitch"),
    ({"notes": notes("G9#")}, "names no pitch"),
    ({"notes": notes("B9")}, "less than or equal to 127"),
    ({"notes": notes(128)}, "less than or equal to 127"),
    ({"notes": notes(-1)}, "greater than or equal to 0"),
    ({"notes": notes(60.5)}, "fractional part"),
    ({"notes": notes(True)}, "true and false are no pitches"),
    ({"notes": notes(60, duration=0)}, "greater than 0"),
    ({"notes": notes(60, duration=float("nan"))}, "finite number"),
    ({"notes": notes(60, duration=float("inf"))}, "finite number"),
    ({"notes": notes(60, duration=2000)}, "less than or equal to 1024"),
    ({"notes": [[60, 1]]}, "valid dictionary"),
    ({"steps": [60, 64]}, "valid list"),
    ({"steps": [[20]]}, "greater than or equal to 21"),
    ({"steps": [["C9"]]}, "less than or equal to 108"),
    ({"steps": [[None]]}, "valid integer"),
    ({"steps": [[60] * 89]}, "at most 88 items"),
]


@pytest.mark.parametrize(("item", "why"), HOSTILE)
def test_a_hostile_item_is_told_what_is_wrong(item: Any, why: str) -> None:
    with pytest.raises(ValidationError) as error:
        CARD.parse_item(item)
    assert why in str(error.value)


@pytest.mark.parametrize("wrong", [{"length": -1}, {"length": 2001}, {"temperature": -0.1}, {"top_k": 0}, {"top_p": 0}, {"top_p": 1.1}, {"seed": -1}, {"seed": 2**31}])  # fmt: skip
def test_hostile_params_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MelodyParams(**wrong)


def test_a_model_has_one_form_and_says_so(scales: Predictor, chords: Predictor) -> None:
    with pytest.raises(Fault, match="this model is monophonic: it goes on from `notes`, not from `steps`"):
        ask(scales, Item(steps=[[60]]))
    with pytest.raises(Fault, match="this model is polyphonic: it goes on from `steps`, not from `notes`"):
        ask(chords, Item(notes=notes(60)))
    scales.probe()
    chords.probe()


def test_what_was_never_learnt_answers_all_the_same(scales: Predictor, chords: Predictor) -> None:
    odd = [Item(notes=notes(0)), Item(notes=notes(127, None, 61, duration=0.013)), Item(notes=notes(None, None))]
    odd.append(Item(notes=notes(*SCALE * 300)))
    for output in ask(scales, *odd, length=5, seed=1):
        assert len(output.notes or ()) == 5
        assert 0 < output.nll < 100
        assert {note.pitch for note in output.notes or ()} <= {number(name) for name in SCALE}
    for output in ask(
        chords, Item(steps=[[]]), Item(steps=[list(range(21, 109))]), Item(steps=[[60, 60]] * 1500), length=5
    ):
        assert len(output.steps or ()) == 5
        assert output.step == 0.5
        assert output.nll > 0


def test_the_chances_of_all_chords_sum_to_one() -> None:
    torch.manual_seed(0)
    head = NextKey(4, 0.0).eval()
    allowed = [10, 40, 41, 70]
    head.output.bias.data[[key for key in range(KEYS) if key not in allowed]] = -1e4
    head.output.weight.data *= 5

    def run(function: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert function == "next"
        with torch.inference_mode():
            return {"logits": head(torch.from_numpy(inputs["hidden"]), torch.from_numpy(inputs["told"])).numpy()}

    every = [keys for size in range(5) for keys in itertools.combinations(allowed, size)]
    roll = np.zeros((len(every), KEYS + 1), dtype=np.float32)
    for row, keys in zip(roll, every, strict=True):
        row[list(keys)] = 1
    hidden = np.tile(np.random.default_rng(0).normal(size=4).astype(np.float32), (len(every), 1))
    found = np.exp(-Chords(State(form="polyphonic", pitches=[60], shares=[1])).losses(run, hidden, {"roll": roll}))
    assert found.sum() == pytest.approx(1, abs=1e-5)
    assert found.max() < 0.9


@pytest.mark.parametrize("chords", ["joint", "independent"])
@pytest.mark.parametrize("parts", [melodic(), choral()], ids=["notes", "steps"])
def test_what_is_scored_is_what_is_learnt(parts: dict[str, list[Row]], chords: str) -> None:
    metrics = learnt(parts, chords=chords, epochs=3)[0].metrics
    assert metrics["validation_nll"] == pytest.approx(metrics["validation_loss"], rel=1e-5)


def test_the_nll_is_of_the_melody_sent_and_not_of_its_continuation(scales: Predictor) -> None:
    likely, unlikely = Item(notes=notes("C", "D", "E", "F")), Item(notes=notes("C", "F#", "C", "F#"))
    scored = ask(scales, likely, unlikely, length=0)
    assert scored[0].nll < 2 < scored[1].nll
    assert scored[0].notes == []
    for seed in (1, 2):
        assert ask(scales, likely, unlikely, length=9, seed=seed, temperature=3)[1].nll == pytest.approx(scored[1].nll)
    one, two = (ask(scales, Item(notes=notes(*pitches)), length=0)[0].nll for pitches in ("C", "CD"))
    hidden_two = 2 * two - one  # the NLL of D alone, after C
    assert hidden_two == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize("stretch", [1, 5, 16_384])
def test_however_a_batch_is_read_each_step_has_its_likelihood(
    scales: Predictor, monkeypatch: pytest.MonkeyPatch, stretch: int
) -> None:
    monkeypatch.setattr(models.tasks.melody.codec, "STRETCH", stretch)
    items = [Item(notes=notes(*(SCALE * 3)[:size])) for size in (4, 1, 17, 4, 6)]
    batch = CODEC.collate([scales.prepare(item, MelodyParams()) for item in items])
    found, last, memory = listened(scales.run, Notes(scales.state), batch)
    assert [len(losses) for losses in found] == [4, 1, 17, 4, 6]
    for index, losses in enumerate(found):
        np.testing.assert_allclose(losses, found[2][: len(losses)], rtol=1e-4, atol=1e-5)
        alone = listened(scales.run, Notes(scales.state), CODEC.collate([scales.prepare(items[index], MelodyParams())]))
        np.testing.assert_allclose(last[index], alone[1][0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(memory[index], alone[2][0], rtol=1e-4, atol=1e-5)


def test_a_pattern_goes_on_where_the_prompt_ends(scales: Predictor) -> None:
    prompt = Item(notes=[{"pitch": pitch, "duration": 2 if pitch == "G" else 1} for pitch in "CDEFGAB"])
    output = ask(scales, prompt, length=14, temperature=0.2, seed=3)[0]
    assert [note.pitch for note in output.notes or ()] == [number(pitch) for pitch in SCALE * 2]
    assert [note.duration for note in output.notes or ()] == [1, 1, 1, 1, 2, 1, 1] * 2


def test_chords_go_on_where_the_prompt_ends(chords: Predictor) -> None:
    turn = [["C4", "E4", "G4"], ["F4", "A4", "C5"], ["G3", "D4"], []]
    output = ask(chords, Item(steps=turn * 2), length=4, temperature=0.1, seed=3)[0]
    assert output.steps == [sorted(map(number, keys)) for keys in turn]
    assert output.notes is None


def test_the_same_seed_plays_the_same_and_another_seed_another_melody(scales: Predictor, chords: Predictor) -> None:
    for predictor, item in ((scales, Item(notes=notes("C", "E"))), (chords, Item(steps=[[60, 64, 67]]))):
        hot: dict[str, Any] = {"temperature": 3.0, "length": 30}
        first, again, other = (ask(predictor, item, seed=seed, **hot)[0] for seed in (5, 5, 6))
        assert first == again
        assert (first.notes, first.steps) != (other.notes, other.steps)
        assert first.seed == 5
        drawn = ask(predictor, item, item, **hot)
        assert drawn[0].seed != drawn[1].seed
        again = ask(predictor, item, seed=drawn[0].seed, **hot)[0]
        assert (again.notes, again.steps) == (drawn[0].notes, drawn[0].steps)
        assert again.nll == pytest.approx(drawn[0].nll)


def test_company_changes_nothing_and_one_seed_serves_each_item_alone(scales: Predictor, chords: Predictor) -> None:
    items = [Item(notes=notes(*SCALE[:size])) for size in (1, 7, 3, 3)]
    together = ask(scales, *items, seed=9, temperature=2.0, length=20)
    assert [output.notes for output in together] == [
        ask(scales, i, seed=9, temperature=2.0, length=20)[0].notes for i in items
    ]
    assert together[2].notes == together[3].notes
    polyphonic = [Item(steps=[[60, 64]] * size) for size in (2, 5, 1)]
    together = ask(chords, *polyphonic, seed=9, temperature=2.0, length=20)
    alone = [ask(chords, item, seed=9, temperature=2.0, length=20)[0] for item in polyphonic]
    assert [output.steps for output in together] == [output.steps for output in alone]


def test_options_narrow_the_choice(scales: Predictor) -> None:
    item = Item(notes=notes("C", "D"))
    greedy = ask(scales, item, temperature=0, seed=1)[0].notes
    assert greedy == ask(scales, item, temperature=0, seed=2)[0].notes
    assert greedy == ask(scales, item, top_k=1, temperature=5, seed=3)[0].notes
    assert greedy == ask(scales, item, top_p=1e-6, temperature=5, seed=4)[0].notes
    assert greedy != ask(scales, item, temperature=5, seed=3)[0].notes


def test_chance_falls_as_the_probabilities_say() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05]))
    draws = np.random.default_rng(0).random(20_000)

    def shares(temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None) -> list[float]:
        counted = Counter(chosen(np.tile(logits, (len(draws), 1)), draws, temperature, top_k, top_p).tolist())
        return [counted[index] / len(draws) for index in range(4)]

    assert shares() == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.01)
    assert shares(temperature=0.5) == pytest.approx(np.array([25, 9, 2.25, 0.25]) / 36.5, abs=0.01)
    assert shares(top_k=2) == pytest.approx([0.625, 0.375, 0, 0], abs=0.01)
    assert shares(top_p=0.81) == pytest.approx(np.array([50, 30, 15, 0]) / 95, abs=0.01)
    assert shares(top_p=0.79) == pytest.approx([0.625, 0.375, 0, 0], abs=0.01)
    assert shares(temperature=0) == [1, 0, 0, 0]
    ruled_out = np.array([[-np.inf, 0.0, -np.inf]])
    assert all(chosen(ruled_out, np.array([draw]), 1.0)[0] == 1 for draw in (0.0, 0.5, 1 - 1e-16))


def test_a_stream_of_chance_belongs_to_its_seed() -> None:
    logits = np.zeros((3, 50))
    together = Sampler([1, 2, 1]).choose(logits)
    assert together[0] == together[2]
    assert Sampler([2]).choose(logits[:1])[0] == together[1]
    sampler = Sampler([7, 8])
    sampler.choose(logits[:1], np.array([0]))
    assert sampler.choose(logits[:2])[1] == Sampler([8]).choose(logits[:1])[0]


def test_every_option_of_a_run_changes_something() -> None:
    plain = learnt(melodic())[0]
    assert learnt(melodic(), embedding=12)[0].parameters != plain.parameters
    assert len(learnt(melodic(), window=5)[0].examples["train"]) > len(plain.examples["train"])
    assert learnt(melodic(), transpose=3)[0].metrics != plain.metrics
    names = [set(learnt(choral(), chords=chords)[0].net.heads) for chords in ("joint", "independent")]
    assert names == [{"next"}, {"alone"}]
    with pytest.raises(ValidationError):
        MelodyConfig(bidirectional=True)


@pytest.mark.parametrize("cell", ["gru", "rnn", "peephole", "coupled", "slstm"])
def test_every_cell_plays(cell: str) -> None:
    trained, predictor = learnt(melodic(rows=6), cell=cell, layers=2, epochs=4)
    losses = [report.values["train_loss"] for report in trained.history]
    assert losses[-1] < losses[0]
    assert len(ask(predictor, Item(notes=notes("C")), length=3)[0].notes or ()) == 3


def test_a_polyphonic_model_is_exported_exactly(chords: Predictor, tmp_path: Path) -> None:
    run = chords.run
    assert isinstance(run, TorchRun)
    items = [Item(steps=[[60, 64]] * size) for size in (2, 5, 1)]
    asked = MelodyParams(seed=4, length=8)
    batch = CODEC.collate([chords.prepare(item, asked) for item in items])

    def play(by: Run) -> list[Output]:
        return CODEC.predict(by, batch, asked, chords.state)  # type: ignore[arg-type]

    assert export(NETWORK, run.net, play, tmp_path) is None
    assert [output.steps for output in play(OnnxRun(tmp_path))] == [output.steps for output in play(run)]
