"""Phonemes: frames or sound give labels with times; items that do not fit are refused in a sentence, and every option counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from models.batch import Batch
from models.families.tag.codec import Read
from models.predictor import Predictor
from models.runtimes.torch_run import TorchRun
from models.task import Fault, Params
from models.tasks.phonemes.codec import CODEC, Heard, Truth, outputs, transitions
from models.tasks.phonemes.network import NETWORK
from models.tasks.phonemes.schema import CARD, PhonemeConfig, PhonemeOutput, Row, State
from models.trainer import Trained, train
from tests.models.tasks.sounds import RATE, b64, songs, stepped, sung, wav

SMALL: dict[str, Any] = {"hidden": 12, "channels": 12, "epochs": 12, "patience": 12, "lr": 0.01}


def learnt(rows: list[Row], **config: Any) -> tuple[Trained, Predictor]:
    chosen = PhonemeConfig(**{**SMALL, **config})
    cut = len(rows) * 3 // 4
    trained = train(CODEC, NETWORK, {"train": rows[:cut], "validation": rows[cut:]}, chosen)
    return trained, Predictor(CODEC, trained.state, chosen, TorchRun(trained.net, NETWORK))


def ask(predictor: Predictor, *items: Mapping[str, Any]) -> list[PhonemeOutput]:
    parsed = [CARD.parse_item(item) for item in items]
    return predictor.answer([predictor.prepare(item, Params()) for item in parsed], Params())


@pytest.fixture(scope="module")
def audio() -> tuple[Trained, Predictor]:
    return learnt(songs(28), speed=0.0, epochs=10)


@pytest.fixture(scope="module")
def frames() -> tuple[Trained, Predictor]:
    return learnt(stepped(40))


def test_tones_are_found_with_their_times(audio: tuple[Trained, Predictor]) -> None:
    trained, predictor = audio
    assert trained.metrics["validation_frame_accuracy"] > 0.9
    assert trained.metrics["validation_phone_error_rate"] < 0.2
    samples, phones = sung(["high", None, "low", "mid"], seed=99)
    (said,) = ask(predictor, {"audio": b64(wav(samples))})
    assert [phone.label for phone in said.phonemes] == ["high", "low", "mid"]
    for found, true in zip(said.phonemes, phones, strict=True):
        assert (found.start, found.end) == pytest.approx((true["start"], true["end"]), abs=0.031)
        assert 0.5 < found.score <= 1
    assert len(said.frames) == round(len(samples) / RATE * 100)
    assert set(said.frames) == {"high", "low", "mid", "SIL"}


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_the_same_sound_at_another_rate_and_in_two_channels_says_the_same(
    audio: tuple[Trained, Predictor], rate: int
) -> None:
    items = []
    for own in (RATE, rate):
        samples, _ = sung(["low", "high", None], rate=own, seed=7)
        both = np.stack([samples, samples], axis=1)
        items.append({"audio": b64(wav(both if own == rate else samples, own, "FLOAT" if own == rate else "PCM_24"))})
    one, other = ask(audio[1], *items)
    assert [phone.label for phone in one.phonemes] == [phone.label for phone in other.phonemes] == ["low", "high"]
    for found, expected in zip(other.phonemes, one.phonemes, strict=True):
        assert (found.start, found.end) == pytest.approx((expected.start, expected.end), abs=0.031)


def test_silence_and_the_shortest_sound_are_answered(audio: tuple[Trained, Predictor]) -> None:
    silence, short = ask(audio[1], {"audio": b64(wav(np.zeros(4000)))}, {"audio": b64(wav(np.zeros(160)))})
    assert silence.phonemes == []
    assert len(silence.frames) == 50
    assert len(short.frames) == 2


def test_a_phoneme_ends_with_the_audio_at_the_latest(audio: tuple[Trained, Predictor]) -> None:
    samples, phones = sung(["high", None, "mid"], seed=3)
    end = phones[-1]["end"] - 0.00125
    (said,) = ask(audio[1], {"audio": b64(wav(samples[: round(end * RATE)]))})
    assert len(said.frames) == round(end * 100)  # the last frame would end later
    assert said.phonemes[-1].end == pytest.approx(end, abs=0.0005)


def test_a_minute_is_heard_as_its_parts_are(audio: tuple[Trained, Predictor]) -> None:
    samples, phones = sung(["low", None, "high", None, "mid", None] * 70, seed=11)
    (said,) = ask(audio[1], {"audio": b64(wav(samples))})
    assert len(samples) / RATE > 50
    assert len(said.phonemes) == pytest.approx(len(phones), abs=0.1 * len(phones))


def test_frames_get_indices(frames: tuple[Trained, Predictor]) -> None:
    trained, predictor = frames
    assert trained.metrics["validation_frame_accuracy"] > 0.9
    (said,) = ask(predictor, {"frames": np.eye(3)[[0, 0, 0, 0, 2, 2, 2, 2]].tolist()})
    assert said.frames == list("aaaacccc")
    assert [(p.label, p.start, p.end) for p in said.phonemes] == [("a", 0, 4), ("c", 4, 8)]
    assert isinstance(said.phonemes[0].start, int)
    (one,) = ask(predictor, {"frames": [[0.0, 1.0, 0.0]]})
    assert len(one.frames) == 1


def test_items_of_another_kind_or_width_are_refused_with_the_place(
    audio: tuple[Trained, Predictor], frames: tuple[Trained, Predictor]
) -> None:
    with pytest.raises(Fault, match="2 features a frame where this model was taught 3") as fault:
        ask(frames[1], {"frames": [[1, 2]]})
    assert fault.value.at == ("frames",)
    with pytest.raises(Fault, match="taught with `audio` and cannot read `frames`"):
        ask(audio[1], {"frames": [[1, 2, 3]]})
    with pytest.raises(Fault, match="taught with `frames` and cannot read `audio`"):
        ask(frames[1], {"audio": b64(wav(np.zeros(800)))})


def test_every_version_answers_its_own_probes(
    audio: tuple[Trained, Predictor], frames: tuple[Trained, Predictor]
) -> None:
    for _, predictor in (audio, frames):
        predictor.probe()


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"frames": []},
        {"frames": [[]]},
        {"frames": [[1, 2], [3]]},
        {"frames": [[1, float("nan")]]},
        {"frames": [1, 2]},
        {"frames": [["😀"]]},
        {"audio": "😀"},
        {"audio": "UklGRg=="},
        {"frames": [[1]], "audio": b64(wav(np.zeros(800)))},
        {"frames": {"npy": b64(b"no array")}},
    ],
)
def test_wrong_items_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CARD.parse_item(wrong)


def test_a_label_that_was_never_taught_counts_as_wrong() -> None:
    rows = stepped(20)
    strange = Row(frames=rows[-1].frames, labels=["😀"] * len(rows[-1].labels or ()))
    trained, _ = learnt([*rows[:15], strange, strange, strange, strange, strange], epochs=2)
    assert trained.metrics["validation_frame_accuracy"] == 0
    assert "😀" not in trained.state.labels  # type: ignore[attr-defined]


def test_what_follows_what_is_counted() -> None:
    found = transitions([["a", "a", "a", "b"], ["b", "b"]], ["a", "b"])
    after = np.array([[3, 2], [1, 2]]) / np.array([[5], [3]])
    anywhere = np.array([4, 4]) / 8
    np.testing.assert_allclose(found, np.log(after / anywhere))


def test_transitions_smooth_what_is_heard_and_their_weight_is_fitted() -> None:
    generator = np.random.default_rng(0)
    truth = ["a"] * 10 + ["b"] * 10
    heard = np.where(np.array(truth)[:, None] == np.array(["a", "b"]), 0.7, 0.3)
    heard[[3, 14]] = heard[[14, 3]]  # two frames that are heard wrong
    state = State(
        kind="frames",
        labels=["a", "b"],
        counts=[10, 10],
        rows=1,
        silence="SIL",
        scale={"mean": [0.0], "deviation": [1.0]},
        transitions=transitions([truth], ["a", "b"]).tolist(),
    )
    read = Read(ends=[20], of=Heard(seconds=None, silence="SIL"))
    batch = Batch(arrays={"lengths": np.array([20])}, contexts=[read])
    said = np.log(heard)[None] + 1e-9 * generator.standard_normal((1, 20, 2))
    assert len(outputs(said, batch, state)[0].phonemes) == 6
    answer = Truth(frames=truth, phones=["a", "b"])
    fitted = CODEC.calibrate(lambda _name, _inputs: {"scores": said}, [batch], state, [[answer]])
    assert fitted.weight > 0
    (smooth,) = outputs(said, batch, fitted)
    assert [(p.label, p.start, p.end) for p in smooth.phonemes] == [("a", 0, 10), ("b", 10, 20)]
    assert smooth.phonemes[0].score == pytest.approx((9 * 0.7 + 0.3) / 10, abs=1e-6)
    assert CODEC.score([smooth], [answer]) == {"frame_accuracy": 1.0, "phone_error_rate": 0.0}


@pytest.mark.parametrize(
    "changed",
    [
        {"layers": 2},
        {"bidirectional": False},
        {"dropout": 0.0},
        {"batch_steps": 64},
        {"convolutions": 0},
        {"channels": 6},
        {"features": "mel"},
        {"bands": 20},
        {"deltas": 0},
        {"normalise": "training"},
        {"speed": 0.0},
        {"jitter": 0.0},
        {"masking": 0.0},
        {"silence": "pause"},
    ],
)
def test_every_option_changes_something(changed: dict[str, Any], plain: Trained) -> None:
    other, _ = learnt(songs(4), epochs=1, **changed)
    assert other.history[0].values["train_loss"] != plain.history[0].values["train_loss"] or changed == {
        "silence": other.state.silence  # type: ignore[attr-defined]
    }


@pytest.fixture(scope="module")
def plain() -> Trained:
    return learnt(songs(4), epochs=1)[0]


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "peephole", "coupled", "slstm"])
def test_every_cell_learns(cell: str) -> None:
    trained, _ = learnt(stepped(16), cell=cell, epochs=3)
    history = [report.values["train_loss"] for report in trained.history]
    assert min(history) < 0.9 * history[0]
