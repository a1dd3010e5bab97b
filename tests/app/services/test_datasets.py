"""Data sets: validated by line, split by seed, kept whole or not at all, deleted when nobody needs them."""

import contextlib
import json
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import delete

from app.blobs import FolderBlobs, open_blobs
from app.db.engine import Database
from app.db.tables import Job
from app.errors import Conflict, Invalid, NotFound
from app.services.datasets import Datasets, DatasetView
from app.settings import Settings

ROOT = Path(__file__).parents[3]


class Shelf:
    """Data sets in a folder, with a shorter way to post text."""

    def __init__(self, home: Path, database: Database) -> None:
        settings = Settings(home=home)
        self.home, self.database = home, database
        self.datasets = Datasets(database, open_blobs(settings.blob_store), settings)

    def post(self, data: str | bytes, media_type: str = "application/x-ndjson", **options: object) -> DatasetView:
        path = self.home / "sent"
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        given = {"task": "sentiment", "name": "reviews", "bytes": path.stat().st_size, "digest": "0" * 64}
        return self.datasets.create(path, media_type=media_type, **(given | options))

    def parts(self, view: DatasetView) -> list[str | None]:
        return [part for part, _ in self.datasets.read_rows(view.id)]

    def blobs(self) -> int:
        return sum(path.is_file() for path in (self.home / "blobs").rglob("*"))


@pytest.fixture
def shelf(tmp_path: Path, database: Database) -> Shelf:
    return Shelf(tmp_path, database)


def texts(count: int, **more: object) -> str:
    rows = [{"text": f"text {i}", "label": "rare" if i % 10 == 0 else "common"} | more for i in range(count)]
    return "\n".join(json.dumps(row) for row in rows)


def test_a_made_split_is_seeded_recorded_and_fair_to_each_label(shelf: Shelf) -> None:
    view = shelf.post(texts(1000), seed=7)
    assert (view.rows, view.splits, view.split_seed) == (1000, {"train": 800, "validation": 100, "test": 100}, 7)
    of = Counter((part, row["label"]) for part, row in shelf.datasets.read_rows(view.id))
    assert (of["train", "rare"], of["validation", "rare"], of["test", "rare"]) == (80, 10, 10)
    assert shelf.parts(shelf.post(texts(1000), seed=7)) == shelf.parts(view)
    assert shelf.parts(shelf.post(texts(1000), seed=8)) != shelf.parts(view)


def test_a_split_in_the_file_is_honoured(shelf: Shelf) -> None:
    rows = [{"text": str(i), "label": "ab"[i % 2], "split": ("train", "validation", "test")[i % 3]} for i in range(12)]
    view = shelf.post("\n".join(map(json.dumps, rows)))
    assert (view.splits, view.split_seed) == ({"train": 4, "validation": 4, "test": 4}, None)
    assert shelf.parts(view) == [row["split"] for row in rows]
    assert shelf.datasets.rows(view.id).items == rows


def test_a_file_without_validation_gives_a_tenth_of_its_training_rows(shelf: Shelf) -> None:
    tested = json.dumps({"text": "new", "label": "common", "split": "test"})
    view = shelf.post(texts(100, split="train") + "\n" + tested)
    assert (view.splits, view.split_seed) == ({"train": 90, "validation": 10, "test": 1}, 0)
    assert "validation" in view.warnings[0]


def test_a_handful_of_rows_is_not_cut(shelf: Shelf) -> None:
    view = shelf.post('{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}')
    assert (view.splits, view.split_seed) == ({"train": 2, "validation": 0, "test": 0}, None)


def test_a_series_belongs_to_every_part(shelf: Shelf) -> None:
    view = shelf.post("date,x,y\n2020-01-01,1,2\n2020-02-01,,3\n", "text/csv", task="forecasting")
    assert shelf.parts(view) == [None, None]
    assert shelf.datasets.rows(view.id).items[0]["values"] == [1.0, None]
    assert view.stats["missing"] == 1


def test_a_null_inside_a_row_is_kept_and_a_field_that_is_not_given_is_not(shelf: Shelf) -> None:
    rest = {"pitch": None, "duration": 2.0}
    view = shelf.post(json.dumps({"notes": [{"pitch": 60}, rest]}), task="melody")
    ((_, row),) = shelf.datasets.read_rows(view.id)
    assert row == {"notes": [{"pitch": 60, "duration": 1.0}, rest], "step": 1.0}


def test_rows_that_parts_share_are_a_warning(shelf: Shelf) -> None:
    rows = [
        {"text": f"text {i % 6}", "label": "ab"[i % 2], "split": ["train", "validation", "test"][i // 6]}
        for i in range(18)
    ]
    view = shelf.post("\n".join(map(json.dumps, rows)))
    told = [text for text in view.warnings if "in train as well" in text]
    assert [text.partition(";")[0] for text in told] == [
        f"6 of 6 rows of {part} are in train as well: scores flatter" for part in ("validation", "test")
    ]


def test_faults_name_the_first_twenty_lines_count_all_and_store_nothing(shelf: Shelf) -> None:
    bad = "\n".join(['{"text": "", "label": "x"}', '{"text": 3, "label": "x"}', '{"text": "a"}', "nonsense"] * 8)
    with pytest.raises(Invalid) as caught:
        shelf.post(texts(3) + "\n" + bad)
    assert caught.value.faults == 32
    assert [flaw.line for flaw in caught.value.errors] == list(range(4, 24))
    assert caught.value.errors[1].detail == "text: a text is expected, not 3"
    assert shelf.blobs() == 0
    assert shelf.datasets.list().items == []
    assert not list((shelf.home / "incoming").iterdir())


def test_a_label_may_be_a_whole_number(shelf: Shelf) -> None:
    view = shelf.post("\n".join(json.dumps({"text": f"text {n}", "label": n % 2}) for n in range(12)))
    assert view.stats["labels"] == {"0": 6, "1": 6}
    with pytest.raises(Invalid, match="1 fault"):
        shelf.post('{"text": "x", "label": true}')


def test_a_table_with_other_columns_is_one_fault(shelf: Shelf) -> None:
    rows = "".join(f"a bore {n},negative\n" for n in range(30))
    with pytest.raises(Invalid) as caught:
        shelf.post(f"review,label\n{rows}", media_type="text/csv")
    assert caught.value.faults == 1
    flaw = caught.value.errors[0]
    assert flaw.detail == "no column `text`; unknown column `review`; a row of sentiment has text, label, split"
    assert flaw.line == 1


@pytest.mark.parametrize("row", [
    {"values": []}, {"values": {}}, {"values": "x"}, {"values": [1e300]}, {"values": [[1]]}, {"values": [10**40]},
    {"values": [True, "x"]}, {"values": [1], "freq": "eon"}, {"values": [1], "start": "yesterday"},
    {"values": [1], "split": "dev"}, {"values": [1], "surprise": 1}, {}, {"": 0},
])  # fmt: skip
def test_hostile_series_are_faults(shelf: Shelf, row: dict) -> None:
    with pytest.raises(Invalid) as caught:
        shelf.post(json.dumps(row), task="forecasting")
    assert caught.value.errors[0].line == 1


@pytest.mark.parametrize(
    "data",
    [
        "",
        "\n\n",
        "a\n",
        "date,date\n1,2",
        "id,timestamp,value\nx,2020-01-01,NaN?\n",
        "date,x\n2020-01-01,1\n2020-01-02T00:00:00Z,1\n2020-01-03,2",
    ],
)
def test_hostile_tables_end_in_a_sentence(shelf: Shelf, data: str) -> None:
    with contextlib.suppress(Invalid):
        shelf.post(data, "text/csv", task="forecasting")


def test_what_cannot_be_is_refused(shelf: Shelf) -> None:
    for options in ({"task": "poetry"}, {"name": "Not A Name"}, {"media_type": "image/png"}):
        with pytest.raises(Invalid):
            shelf.post(texts(3), **options)
    for name in ("ds_0", "../x", "a\0b"):
        with pytest.raises(NotFound):
            shelf.datasets.get(name)


def test_a_name_is_its_newest_data_set(shelf: Shelf) -> None:
    shelf.post(texts(20))
    newest = shelf.post(texts(30))
    assert shelf.datasets.get("reviews") == newest


def test_pages_go_newest_first_and_through_the_rows(shelf: Shelf) -> None:
    ids = [shelf.post(texts(20), name=f"n{i}").id for i in range(5)]
    seen, token = [], ""
    while True:
        page = shelf.datasets.list(page_size=2, page_token=token)
        seen += [view.id for view in page.items]
        if not (token := page.next_page_token):
            break
    assert seen == ids[::-1]
    first = shelf.datasets.rows(ids[0], page_size=15)
    second = shelf.datasets.rows(ids[0], page_size=15, page_token=first.next_page_token)
    assert [row["text"] for row in first.items + second.items] == [f"text {i}" for i in range(20)]
    assert second.next_page_token == ""
    for token in ("x", "cm93IDM=", "cm93IDk5OTk5", "é"):
        with pytest.raises(Invalid):
            shelf.datasets.rows(ids[0], page_token=token)


def test_a_data_set_stays_while_a_job_needs_it_and_its_blob_while_another_does(shelf: Shelf) -> None:
    one, two = shelf.post(texts(20)), shelf.post(texts(20))
    assert shelf.blobs() == 1
    now = datetime.now(UTC)
    with shelf.database.write() as session:
        session.add(
            Job(id="job_1", kind="train", task="sentiment", state="running", priority=0, request={}, dataset=one.id,
                progress={}, metrics={}, attempt=1, fence=1, created_at=now)
        )  # fmt: skip
    with pytest.raises(Conflict, match="job_1"):
        shelf.datasets.delete(one.id)
    with shelf.database.write() as session:
        session.get(Job, "job_1").state = "succeeded"
    shelf.datasets.delete(one.id)
    assert len(list(shelf.datasets.read_rows(two.id))) == 20
    shelf.datasets.delete(two.id)
    assert shelf.blobs() == 0
    with pytest.raises(NotFound):
        shelf.datasets.delete(two.id)


def test_items_have_no_answer_and_are_in_no_part(shelf: Shelf) -> None:
    lines = ['{"text": "one"}', '{"text": "two", "label": "positive"}', '{"text": "three", "split": "test"}']
    view = shelf.post("\n".join(lines), of="items")
    assert (view.rows, view.splits) == (3, {"train": 0, "validation": 0, "test": 0})
    rows = [(None, {"text": text}) for text in ("one", "two", "three")]
    assert list(shelf.datasets.read_rows(view.id)) == rows
    csv = "source,target\nthe cat,le chat\n"
    assert list(shelf.datasets.read_rows(shelf.post(csv, "text/csv", task="translation", of="items").id)) == [
        (None, {"text": "the cat"})
    ]


def test_a_bad_item_is_told_by_its_line(shelf: Shelf) -> None:
    with pytest.raises(Invalid) as caught:
        shelf.post('{"text": "one"}\n{"txt": "two"}\n{"text": ""}', of="items")
    told = [(flaw.line, flaw.detail) for flaw in caught.value.errors]
    assert told[0] == (2, "unknown field 'txt'; an item has: text")
    assert told[1][0] == 3


def test_no_writer_waits_for_the_copy_and_a_copy_that_is_deleted_meanwhile_is_made_again(shelf: Shelf) -> None:
    class Slow(FolderBlobs):
        puts = 0

        def put(self, path: Path) -> str:
            with shelf.database.write() as session:  # on SQLite there is one writer at a time
                session.execute(delete(Job))
            found = super().put(path)
            self.puts += 1
            if self.puts == 1:  # as if the only other data set of these rows had just gone
                self.delete(found)
            return found

    blobs = Slow(shelf.home / "slow")
    shelf.datasets = Datasets(shelf.database, blobs, Settings(home=shelf.home))
    view = shelf.post(texts(20))
    assert blobs.puts == 2
    assert len(list(shelf.datasets.read_rows(view.id))) == 20


def test_a_large_file_goes_in_with_bounded_memory() -> None:
    found = subprocess.run(
        [sys.executable, "benchmarks/upload.py", "--megabytes", "30"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    peak, before = map(float, re.findall(r"(?:peak|before) (\d+) MB", found.stdout))
    assert peak - before < 25
