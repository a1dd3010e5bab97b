"""Actions: a clip of any length gives one label, a long one by its windows; zips and npy are data."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from models.archive import Archive
from models.arrays import npy
from models.batch import Batch
from models.families.classify.codec import features
from models.predictor import Predictor
from models.readers import Bad
from models.runtimes.export import export
from models.runtimes.onnx_run import OnnxRun
from models.runtimes.run import Run
from models.runtimes.torch_run import TorchRun
from models.schemas import LabelParams
from models.task import Fault
from models.tasks.actions.codec import AT_ONCE, CODEC, windows
from models.tasks.actions.network import NETWORK
from models.tasks.actions.schema import CARD, ActionConfig, ActionItem, ActionTally, Row
from models.trainer import Trained, train

ALL = LabelParams()


def clips(n: int, *, longest: int = 30, seed: int = 0) -> list[Row]:
    """Clips of 4 to `longest` frames in which the second feature swings, or does not."""
    generator = np.random.default_rng(seed)
    rows = []
    for index in range(n):
        frames = generator.normal(scale=0.2, size=(generator.integers(4, longest + 1), 3))
        if index % 2:
            frames[:, 1] += np.sin(1.5 * np.arange(len(frames)) + generator.uniform(0, 6))
        rows.append(Row(frames=frames, label="swing" if index % 2 else "still"))
    return rows


@pytest.fixture(scope="module")
def learnt() -> tuple[Trained, Predictor]:
    rows = clips(60)
    config = ActionConfig(hidden=8, channels=8, epochs=8, lr=0.01, window=8)
    trained = train(CODEC, NETWORK, {"train": rows[:45], "validation": rows[45:]}, config)
    return trained, Predictor(CODEC, trained.state, config, TorchRun(trained.net, NETWORK))


def test_what_is_done_is_learnt_and_long_clips_are_read_by_windows(learnt: tuple[Trained, Predictor]) -> None:
    trained, _ = learnt
    assert trained.metrics["validation_accuracy"] >= 0.9
    assert all(example.length <= 8 for example in trained.examples["train"])
    assert any(len(example.arrays["frames"]) > 1 for example in trained.examples["validation"])
    assert len(trained.examples["validation"]) == 15


def test_alone_or_in_company_and_by_onnx_the_same(learnt: tuple[Trained, Predictor], tmp_path: Path) -> None:
    trained, predictor = learnt
    rows = [Row(frames=np.ones((n, 3)) * 0.1, label="still") for n in (1, 2, 7, 8, 9, 20, 61)] + clips(6, longest=90)
    examples = [CODEC.example(ActionItem(frames=row.frames), ALL, trained.state, predictor.config) for row in rows]
    together = predictor.answer(examples, ALL)

    def asked(run: Run) -> None:
        CODEC.predict(run, CODEC.collate(examples), ALL, trained.state)

    assert export(NETWORK, trained.net, asked, tmp_path) is None
    for run in (predictor.run, OnnxRun(tmp_path)):
        for example, expected in zip(examples, together, strict=True):
            (alone,) = CODEC.predict(run, CODEC.collate([example]), ALL, trained.state)
            assert alone.scores == pytest.approx(expected.scores, abs=1e-5)


class Mean:
    """A network whose logits are the window's mean; counts how much it is asked at once."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, function: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.sizes.append(len(inputs["frames"]))
        return {"logits": inputs["frames"].mean(axis=(1, 2))[:, None] * np.array([[1.0, -1.0]])}


def test_a_clip_says_the_mean_of_its_windows_however_many() -> None:
    frames = np.arange(3 * AT_ONCE, dtype=np.float32)[:, None, None]
    batch = Batch(
        arrays={"frames": frames, "lengths": np.ones(len(frames), dtype=np.int64)}, contexts=[2, 3 * AT_ONCE - 2]
    )
    run = Mean()
    logits = CODEC.logits(run, batch)
    assert logits[:, 0] == pytest.approx([0.5, frames[2:].mean()])
    assert run.sizes == [AT_ONCE] * 3


@pytest.mark.parametrize(
    ("steps", "length", "overlap", "starts"),
    [
        (5, 8, 0.5, [0]),
        (8, 8, 0.5, [0]),
        (9, 8, 0.5, [0, 1]),
        (16, 8, 0.5, [0, 4, 8]),
        (16, 8, 0.0, [0, 8]),
        (10, 4, 0.9, [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_windows_cover_the_clip(steps: int, length: int, overlap: float, starts: list[int]) -> None:
    found = windows(np.arange(steps)[:, None], length, overlap)
    assert found[:, 0, 0].tolist() == starts
    assert found[-1, -1, 0] == steps - 1


def test_motion_is_what_changed_since_the_frame_before() -> None:
    frames = np.array([[1.0, 5.0], [2.0, 5.0], [4.0, 4.0]])
    assert features(frames, "none") is frames
    assert features(frames, "alone").tolist() == [[0, 0], [1, 0], [2, -1]]
    assert features(frames, "added").tolist() == [[1, 5, 0, 0], [2, 5, 1, 0], [4, 4, 2, -1]]


def test_a_clip_of_another_width_is_refused_with_the_place(learnt: tuple[Trained, Predictor]) -> None:
    _, predictor = learnt
    with pytest.raises(Fault, match="2 features a frame where this model was taught 3") as fault:
        predictor.prepare(ActionItem(frames=np.zeros((4, 2))), ALL)
    assert fault.value.at == ("frames",)
    predictor.probe()


def test_extreme_frames_get_a_finite_answer(learnt: tuple[Trained, Predictor]) -> None:
    _, predictor = learnt
    wild = ActionItem(frames=np.array([[1e15, -1e15, 1e-300]] * 3))
    (output,) = predictor.answer([predictor.prepare(wild, ALL)], ALL)
    assert sum(output.scores.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"frames": []},
        {"frames": [1, 2]},
        {"frames": [[]]},
        {"frames": [[1, 2], [3]]},
        {"frames": [[1, float("inf")]]},
        {"frames": [[1, None]]},
        {"frames": "clip.npy"},
        {"frames": {"npy": "AAAA"}},
        {"frames": [[1]], "label": "wave"},
    ],
)
def test_what_is_no_clip_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CARD.parse_item(wrong)


def test_a_clip_may_come_as_npy(learnt: tuple[Trained, Predictor]) -> None:
    _, predictor = learnt
    frames = np.linspace(-1, 1, 30, dtype=np.float32).reshape(10, 3)
    parsed = [CARD.parse_item({"frames": given}) for given in (frames.tolist(), npy(frames))]
    one, other = predictor.answer([predictor.prepare(item, ALL) for item in parsed], ALL)
    assert one.scores == pytest.approx(other.scores, abs=1e-6)


def zipped(path: Path, rows: list[dict[str, Any]], arrays: dict[str, np.ndarray]) -> Archive:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            archive.writestr(name, buffer.getvalue())
    return Archive(path)


def test_a_zip_of_npy_files_and_a_manifest_is_rows(tmp_path: Path) -> None:
    arrays = {f"clips/{i}.npy": np.full((4, 2), i, dtype=np.float32) for i in range(2)}
    named = [{"frames": f"clips/{i}.npy", "label": "ab"[i]} for i in range(2)]
    missing = {"frames": "clips/9.npy", "label": "a"}
    assert CARD.archive is not None
    found = list(CARD.archive(zipped(tmp_path / "clips.zip", [*named, missing], arrays)))
    rows = [Row.model_validate(record[1]) for record in found[:2] if not isinstance(record, Bad)]
    assert [(row.label, row.frames.shape, float(row.frames[0, 0])) for row in rows] == [
        ("a", (4, 2), 0),
        ("b", (4, 2), 1),
    ]
    assert found[2] == Bad(3, "the zip holds no file 'clips/9.npy'")


def test_the_tally_counts_frames_and_finds_the_odd_width() -> None:
    tally = ActionTally()
    for line, (width, label) in enumerate([(2, "a"), (2, "b"), (3, "a")], start=1):
        tally.add(Row(frames=np.zeros((line, width)), label=label), line=line, part=None)
    assert tally.stats() == {"labels": {"a": 2, "b": 1}, "features": 2, "mean_frames": 2.0, "longest_frames": 3}
    assert tally.faults() == [(3, "3 numbers a step where line 1 has 2 numbers a step")]
