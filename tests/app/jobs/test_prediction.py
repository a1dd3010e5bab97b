"""What asks a version about a data set, in one process. A bulk prediction: the route's own answers, a line a row, the same bytes wherever it was interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.testclient import TestClient

from app.jobs import pieces, prediction
from app.jobs.evaluation import evaluated
from app.jobs.executors import Message, Order
from app.jobs.prediction import predicted
from models import catalog, judge
from models.monitor import Stopped, TrainingError

TEXTS = ["a fine film", "a dull film", "I loved every minute of it, and so did they", "awful", "not bad at all"]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of a few rows, each laid down at once."""
    monkeypatch.setattr(prediction, "CHUNK_ROWS", 7)
    monkeypatch.setattr(pieces, "SOONEST", -1.0)
    monkeypatch.setattr(pieces, "LATEST", -1.0)


def written(path: Path, rows: list[dict[str, Any]], parts: list[str | None] | None = None) -> Path:
    named = parts or [None] * len(rows)
    records = ({"part": part, "row": row} for part, row in zip(named, rows, strict=True))
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    return path


@pytest.fixture
def order(archives: dict[str, Path], tmp_path: Path) -> Order:
    """Forty texts, asked of a tiny version."""
    rows = [{"text": f"{TEXTS[n % 5]} {n}", "label": "positive"} for n in range(40)]
    parts: list[str | None] = ["test" if n % 3 else "train" for n in range(40)]
    return ordered("sentiment", archives, written(tmp_path / "rows.jsonl", rows, parts), tmp_path)


def ordered(task: str, archives: dict[str, Path], rows: Path, folder: Path, **more: Any) -> Order:
    (folder / "pieces").mkdir(exist_ok=True)
    return Order(
        job="job",
        kind="predict",
        task=task,
        config={},
        rows=rows,
        vectors=None,
        folder=folder,
        checkpoints=folder / "pieces",
        checkpoint=None,
        version=archives[task],
        reference="it:1",
        dataset={},
        threads=1,
        devices=("cpu",),
        meeting=f"file://{folder}/meeting",
        max_seconds=None,
        **more,
    )


class Worker:
    """Does an order, stopping it now and then, and keeps what was laid down."""

    def __init__(self, order: Order, *, stop_after: int | None = None) -> None:
        self.order, self.stop_after, self.stops = order, stop_after, 0
        self.lines, self.place, self.told = b"", dict[str, Any](), list[Message]()

    def hear(self, message: Message) -> None:
        kind, data = message
        self.told.append(message)
        if kind == "checkpoint":
            path = Path(data["path"])
            self.lines += path.read_bytes()
            path.unlink()
            self.place = {name: data[name] for name in ("row", "offset", "answered", "failed")}

    def asks(self) -> Iterator[str | None]:
        for _ in range(self.stop_after or 10**9):
            yield None
        yield "asked"

    def run(self) -> dict[str, Any]:
        while True:
            asks = self.asks()
            try:
                return predicted(replace(self.order, place=self.place), self.hear, lambda asks=asks: next(asks))
            except Stopped:
                self.stops += 1

    def read(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.lines.splitlines()]


def test_its_answers_are_those_of_the_route(order: Order, client: TestClient) -> None:
    worker = Worker(order)
    done = worker.run()
    assert (done["rows"], done["failed"]) == (40, 0)
    texts = [f"{TEXTS[n % 5]} {n}" for n in range(40)]
    answers = client.post("/v1/sentiment", json={"inputs": texts, "model": "reviews"}).json()["outputs"]
    assert [line["row"] for line in worker.read()] == list(range(40))
    for line, answer in zip(worker.read(), answers, strict=True):
        assert line["output"]["label"] == answer["label"]
        assert line["output"]["scores"] == pytest.approx(answer["scores"], abs=1e-6)
    last = [data for kind, data in worker.told if kind == "progress"][-1]
    assert (last["fraction"], last["row"], last["eta_seconds"]) == (1.0, 40, 0.0)
    assert last["rows_per_second"] > 0


def test_interrupted_anywhere_it_gives_the_same_bytes(order: Order) -> None:
    whole, broken = Worker(order), Worker(order, stop_after=1)
    whole.run()
    done = broken.run()
    assert broken.stops == 5
    assert broken.lines == whole.lines
    assert done["rows"] == 40
    assert [data["row"] for kind, data in broken.told if kind == "resumed"] == [7, 14, 21, 28, 35]


def test_a_part_alone_keeps_the_numbers_of_its_rows(order: Order) -> None:
    worker = Worker(replace(order, part="test"), stop_after=1)
    assert worker.run()["rows"] == 26
    assert [line["row"] for line in worker.read()] == [n for n in range(40) if n % 3]


def test_a_row_that_cannot_be_answered_says_why_and_harms_no_other(archives: dict[str, Path], tmp_path: Path) -> None:
    good: dict[str, Any] = {"values": [10.0, 12.0, 9.0, 11.0] * 12, "freq": "M", "id": "a", "test_values": [1.0, 2.0]}
    rows = [good, {"values": [None, None]}, good, {"values": []}, good]
    order = ordered("forecasting", archives, written(tmp_path / "rows.jsonl", rows), tmp_path)
    worker = Worker(order)
    assert worker.run()["failed"] == 2
    lines = worker.read()
    assert [sorted(line) for line in lines] == [["output", "row"], ["error", "row"]] * 2 + [["output", "row"]]
    assert lines[0]["output"]["mean"] == pytest.approx(lines[4]["output"]["mean"])
    assert lines[3]["error"].startswith("values: ")
    said = [data["text"] for kind, data in worker.told if kind == "log"]
    assert said == [f"row {n} has no answer: {lines[n]['error']}" for n in (1, 3)]


def test_params_that_do_not_fit_the_version_end_the_job_at_once(archives: dict[str, Path], tmp_path: Path) -> None:
    rows = written(tmp_path / "rows.jsonl", [{"values": [1.0, 2.0, 3.0] * 9}])
    order = ordered("forecasting", archives, rows, tmp_path, params={"horizon": 9999, "quantiles": [0.5]})
    with pytest.raises(TrainingError, match="9999") as caught:
        Worker(order).run()
    assert caught.value.type == "bad-params"


def test_an_answer_that_cannot_be_made_is_the_fault_of_its_row_alone(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = prediction.Predictor.answer

    def answer(self: Any, examples: Any, params: Any) -> Any:
        if any(example.length == 1 for example in examples):
            raise ZeroDivisionError
        return real(self, examples, params)

    rows = [{"text": text, "label": "positive"} for text in ("a fine film", "awful", "a dull film")]
    monkeypatch.setattr(prediction.Predictor, "answer", answer)
    worker = Worker(replace(order, rows=written(order.rows, rows)))
    assert worker.run()["failed"] == 1
    assert worker.read()[1] == {"row": 1, "error": "the model could not answer this row: ZeroDivisionError"}


def test_an_evaluation_that_was_interrupted_finds_the_same_scores(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "LEAST_STEPS", 40)
    texts = [f"{TEXTS[n % 5]} {n} " * 40 for n in range(40)]
    rows = [catalog.card("sentiment").row(text=text, label="positive") for text in texts]
    order = replace(order, kind="evaluate")
    whole = evaluated(order, rows, "test", lambda _: None, lambda: None)
    kept: list[Path] = []
    resumed: list[int] = []

    def hear(message: Message) -> None:
        kind, data = message
        if kind == "checkpoint":
            kept.append(Path(data["path"]).rename(order.folder / f"kept-{len(kept)}"))
        elif kind == "resumed":
            resumed.append(data["step"])

    while True:
        asks = iter([None, "asked"])
        try:
            done = evaluated(replace(order, pieces=tuple(kept)), rows, "test", hear, lambda asks=asks: next(asks, None))
            break
        except Stopped:
            continue
    assert resumed[:2] == [2, 4]
    assert (done["metrics"], done["rows"]) == (whole["metrics"], 40)


def test_an_evaluation_tells_of_rows_that_give_nothing_to_score(order: Order) -> None:
    shape = catalog.card("sentiment").row
    rows = [shape(text="a fine film", label=label) for label in ("positive", "unheard of")]
    order, told = replace(order, kind="evaluate"), list[Message]()
    done = evaluated(order, rows, "train", told.append, lambda: None)
    assert (done["rows"], done["left_out"]) == (2, 1)
    (said,) = [data["text"] for kind, data in told if kind == "log"]
    assert said == "1 of 2 rows of the train part give no example and are left out"
    with pytest.raises(TrainingError, match="none of the 1 rows of the train part gives it:1 an example"):
        evaluated(order, rows[1:], "train", told.append, lambda: None)
