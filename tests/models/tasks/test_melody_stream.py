"""A melody note by note, or chord by chord: the likelihood that the whole has, and what is likeliest to follow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from models.predictor import Predictor
from models.task import Fault
from models.tasks.melody.codec import CODEC, listened
from models.tasks.melody.schema import Item, MelodyParams, Step, StepParams
from models.tasks.melody.voices import voice
from tests.models.tasks.melodies import SCALE
from tests.models.tasks.test_melody import choral, learnt, melodic
from tests.stepping import CLOSE, PIECES, assert_close, assert_forks, plain, stepped, together

NOTES: list[Any] = [*({"pitch": pitch, "duration": 2 if pitch == "G" else 1} for pitch in SCALE * 2), None, "C", 64]
CHORDS: list[Any] = [["C4", "E4", "G4"], ["F4", "A4", "C5"], [], ["G3"], {"keys": [60, 64]}] * 3


@pytest.fixture(scope="module", params=["notes", "joint", "independent"])
def player(request: pytest.FixtureRequest) -> tuple[Predictor, list[Any]]:
    if request.param == "notes":
        return learnt(melodic(rows=6), layers=[16, 8], cell="gru")[1], NOTES
    return learnt(choral(rows=6), chords=request.param)[1], CHORDS


def whole(predictor: Predictor, steps: list[Any]) -> np.ndarray:
    """The NLL of each step of a melody that is sent whole."""
    parsed = [TypeAdapter(Step).validate_python(step) for step in steps]
    notes = [{"pitch": step.pitch, "duration": step.duration} for step in parsed]
    item = Item.model_validate({"notes": notes} if steps is NOTES else {"steps": [step.keys for step in parsed]})
    example = predictor.prepare(item, MelodyParams(length=0))
    return listened(predictor.run, voice(predictor.state), CODEC.collate([example]))[0][0]


def test_each_step_is_as_surprising_as_in_the_whole_melody(player: tuple[Predictor, list[Any]]) -> None:
    predictor, steps = player
    expected = whole(predictor, steps)
    once = stepped(predictor, steps, 1)[0]
    assert [output.nll for output in once] == pytest.approx(expected.tolist(), rel=CLOSE, abs=CLOSE)
    for size in PIECES[1:]:
        assert_close(plain(stepped(predictor, steps, size)[0]), plain(once))


def test_what_is_likeliest_has_the_probability_that_it_then_turns_out_to_have(
    player: tuple[Predictor, list[Any]],
) -> None:
    predictor, steps = player
    outputs, memory = stepped(predictor, steps[:5], 2, params=StepParams(likeliest=4))
    likely = outputs[-1].next
    chances = [each.probability for each in likely]
    assert len(likely) == (4 if steps is NOTES else 1)
    assert chances == sorted(chances, reverse=True)
    for each in likely:
        step = {"pitch": each.pitch, "duration": each.duration} if each.keys is None else {"keys": each.keys}
        found = stepped(predictor, [step], 1, memory=memory)[0][0]
        assert np.exp(-found.nll) == pytest.approx(each.probability, rel=1e-4)
    assert stepped(predictor, steps[:2], 2, params=StepParams(likeliest=0))[0][1].next == []


def test_several_melodies_in_one_batch_answer_as_each_alone(player: tuple[Predictor, list[Any]]) -> None:
    predictor, steps = player
    melodies = [steps[:7], steps[3:5], steps]
    for found, melody in zip(together(predictor, melodies), melodies, strict=True):
        assert_close(plain(found), plain(stepped(predictor, melody, 1000)[0]))


def test_a_fork_goes_on_by_itself(player: tuple[Predictor, list[Any]]) -> None:
    assert_forks(*player)


def test_what_is_kept_is_the_state_alone(player: tuple[Predictor, list[Any]]) -> None:
    predictor, steps = player
    _, memory = stepped(predictor, steps, 3)
    assert {name: array.shape for name, array in memory.items()} == (
        {"state": (24,), "hidden": (8,)} if steps is NOTES else {"state": (32,), "hidden": (16,)}
    )


def test_steps_of_the_other_form_are_refused_at_their_place(player: tuple[Predictor, list[Any]]) -> None:
    predictor, steps = player
    other = CHORDS if steps is NOTES else NOTES
    with pytest.raises(Fault, match=r"this model is (monophonic|polyphonic): its steps are") as caught:
        stepped(predictor, [*steps[:2], other[0]], 1000)
    assert caught.value.at == (2, "keys" if steps is NOTES else "pitch")


@pytest.mark.parametrize("wrong", [{}, {"pitch": 60, "keys": [60]}, "H4", [20], 128, {"pitch": 60, "more": 1}])
def test_what_is_no_step_is_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        Step.model_validate(wrong)
