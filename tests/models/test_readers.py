"""Files as records: good ones come through, bad ones name their line, nothing raises."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import readers
from models.readers import Bad


def read(tmp_path: Path, data: bytes, media_type: str) -> list:
    path = tmp_path / "file"
    path.write_bytes(data)
    return list(readers.READERS[media_type](path))


@pytest.mark.parametrize(
    ("media_type", "data"),
    [
        ("application/x-ndjson", b'\xef\xbb\xbf{"a": "x"}\r\n\r\n{"a": "y"}'),
        ("application/json", b'\xef\xbb\xbf \n[{"a": "x"},\n\n{"a": "y"}\n]\n'),
        ("text/csv", b'\xef\xbb\xbfa\r\nx\r\n"y"\r\n'),
        ("text/tab-separated-values", b"a\nx\n\ny\n"),
    ],
)
def test_marks_blank_lines_and_line_ends_do_not_matter(tmp_path: Path, media_type: str, data: bytes) -> None:
    found = read(tmp_path, data, media_type)
    assert [record for _, record in found] == [{"a": "x"}, {"a": "y"}]
    lines = {"application/x-ndjson": [1, 3], "application/json": [2, 4], "text/csv": [2, 3]}
    assert [line for line, _ in found] == lines.get(media_type, [2, 4])


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b'{"a": NaN}', "NaN and infinity are not JSON numbers; a missing value is null"),
        (b'{"a": -Infinity}', "NaN and infinity are not JSON numbers; a missing value is null"),
        (b'{"a": 1e999}', "infinity"),
        (b'{"a": ' + b"9" * 5000 + b"}", "infinity"),
        (b"[" * 100_000, "depth"),
        (b'{"a":' * 100_000, "depth"),
        (b'{"a": 1, "a": 2}', "the key 'a' is given twice"),
        (b'{"a": {"b": 1, "b": 2}}', "the key 'b' is given twice"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 8 of the line"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b"[1]", "a JSON object is expected, not a list"),
        (b"null", "a JSON object is expected, not null"),
        (b"{'a': 1}", "not JSON at column 2"),
    ],
)
def test_a_hostile_line_is_a_sentence_and_the_next_line_is_read(tmp_path: Path, line: bytes, sentence: str) -> None:
    bad, good = read(tmp_path, line + b'\n{"a": 1}\n', "application/x-ndjson")
    assert isinstance(bad, Bad)
    assert bad.line == 1
    assert sentence in bad.detail
    assert good == (2, {"a": 1})


def test_a_line_that_is_too_long_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "LONGEST", 64)
    data = b'{"a": "' + b"x" * 3_000_000 + b'"}\n{"a": 1}\n'
    assert read(tmp_path, data, "application/x-ndjson") == [Bad(1, "longer than 64 bytes"), (2, {"a": 1})]


def test_a_json_list_keeps_what_strings_hold_and_crosses_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "CHUNK", 7)
    rows = [{"a": 'x}]"[{,\\', "b": [1, {"c": []}]}, {"a": "ü\n"}, {"a": ""}]
    found = read(tmp_path, json.dumps(rows, indent=1).encode(), "application/json")
    assert [record for _, record in found] == rows


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[", b'[{"a": 1}', b"[1, 2]", b"[{]}", b"[}", b"[]]", b'[{"a":1}}', b'[{"a":1},,{"a":2}]', b"[[]]"],
)
def test_a_json_file_that_is_no_list_of_objects_is_a_fault(tmp_path: Path, data: bytes) -> None:
    found = read(tmp_path, data, "application/json")
    assert any(isinstance(one, Bad) for one in found)


def test_csv_faults_name_the_line(tmp_path: Path) -> None:
    data = b'a,b\n1,2\n1\n"x\ny",\n\xff,1\n1,2,3\n"unclosed'
    found = read(tmp_path, data, "text/csv")
    assert found[:3] == [
        (2, {"a": "1", "b": "2"}),
        Bad(3, "1 cell where the first line has 2"),
        (4, {"a": "x\ny", "b": None}),
    ]
    assert [one.line for one in found[3:]] == [6, 7, 8]


@pytest.mark.parametrize(("media_type", "sign"), [("text/csv", ","), ("text/csv", ";"), ("text/csv", "\t")])
def test_what_parts_the_cells_is_seen_in_the_header(tmp_path: Path, media_type: str, sign: str) -> None:
    data = f'a{sign}b\r\n"x{sign}y"{sign}2\r\n'
    assert read(tmp_path, data.encode(), media_type) == [(2, {"a": f"x{sign}y", "b": "2"})]


def test_a_table_need_not_be_headed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"Hello,Hello\nHi,\nalone\n")
    found = list(readers.UNHEADED["text/csv"](path))
    assert found[:2] == [(1, {"1": "Hello", "2": "Hello"}), (2, {"1": "Hi", "2": None})]
    assert found[2] == Bad(3, "1 cell where the first line has 2")


def test_nan_of_a_data_frame_is_missing_and_its_index_is_left_out(tmp_path: Path) -> None:
    nan = float("nan")
    columns = {"a": [1.0, nan], "b": [[[nan, 2.0]], []], "c": [{"d": nan}, {"d": 1.0}], "__index_level_0__": [0, 1]}
    pq.write_table(pa.table(columns), tmp_path / "frame.parquet")
    assert list(readers.parquet(tmp_path / "frame.parquet")) == [
        (1, {"a": 1.0, "b": [[None, 2.0]], "c": {"d": None}}),
        (2, {"a": None, "b": [], "c": {"d": 1.0}}),
    ]


def test_a_column_named_twice_refuses_the_table(tmp_path: Path) -> None:
    assert read(tmp_path, b"a,a\n1,2\n", "text/csv") == [Bad(1, "the column 'a' is named twice")]


def test_quotes_in_tsv_are_characters_unless_they_hold_the_cell(tmp_path: Path) -> None:
    data = b'a\tb\n"so" he said\t"it ""is"""\n'
    assert read(tmp_path, data, "text/tab-separated-values") == [(2, {"a": '"so" he said', "b": 'it "is"'})]


def test_conll_sentences_end_at_blank_lines(tmp_path: Path) -> None:
    data = b"-DOCSTART- -X- O O\n\nAnna NNP B-PER\nsleeps VBZ O\n\nalone\nEnd O"
    assert read(tmp_path, data, "text/plain") == [
        (3, {"tokens": ["Anna", "sleeps"], "tags": ["B-PER", "O"]}),
        Bad(6, "'alone' has no tag: a token, a tab or space and a tag are expected"),
        (7, {"tokens": ["End"], "tags": ["O"]}),
    ]


def test_conll_columns_are_parted_by_tabs_or_else_by_spaces_and_windows_ends_lines_too(tmp_path: Path) -> None:
    data = (
        "# sent_id = 1\nNew York\tNNP\tB-LOC\r\n\u00a0\tO\r\n\r\n# O\na\u2028b  O\n# id = x y\n\t\n\tO\nx\t\n".encode()
    )
    assert read(tmp_path, data, "text/plain") == [
        (2, {"tokens": ["New York", "\u00a0"], "tags": ["B-LOC", "O"]}),
        (5, {"tokens": ["#", "a\u2028b", "#"], "tags": ["O", "O", "y"]}),
        Bad(9, "'O' has no token: a token, a tab or space and a tag are expected"),
        Bad(10, "'x' has no tag: a token, a tab or space and a tag are expected"),
    ]


def test_parquet_rows_are_numbered_and_a_broken_file_is_a_fault(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", "b"], "values": [[1.0, None], []]}), tmp_path / "good")
    whole = (tmp_path / "good").read_bytes()
    assert read(tmp_path, whole, "application/vnd.apache.parquet") == [
        (1, {"text": "a", "values": [1.0, None]}),
        (2, {"text": "b", "values": []}),
    ]
    for broken in (b"", b"PAR1", whole[:-9], whole[len(whole) // 2 :]):
        assert isinstance(read(tmp_path, broken, "application/vnd.apache.parquet")[-1], Bad)


@given(data=st.binary(max_size=200), media_type=st.sampled_from(sorted(readers.READERS)))
@settings(max_examples=300, deadline=None)
def test_no_bytes_make_a_reader_raise(data: bytes, media_type: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    read(tmp_path_factory.getbasetemp(), data, media_type)


@given(text=st.text(alphabet='[]{}",:\\ \n1a', max_size=60))
@settings(max_examples=300, deadline=None)
def test_a_json_list_reads_as_the_json_module_reads_it(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    found = read(tmp_path_factory.getbasetemp(), text.encode(), "application/json")
    if not any(isinstance(one, Bad) for one in found):
        assert [record for _, record in found] == json.loads(
            text.rstrip().removesuffix("]").rstrip().removesuffix(",") + "]"
        )
