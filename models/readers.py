"""Files as numbered records, one at a time: JSON Lines, JSON, CSV, TSV, CoNLL, Parquet. Knows no task.

A record that cannot be read comes as a `Bad` with its line, and the reading goes on: memory is bounded
by the longest record, and nothing in a file raises.
"""

from __future__ import annotations

import csv
import importlib
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import orjson

LONGEST = 32 * 1024 * 1024
"""Bytes of one line, or one element of a JSON list, at most."""

BOM = b"\xef\xbb\xbf"
CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Bad:
    """A record that cannot be read: the line it began on, and a sentence."""

    line: int
    detail: str


Record = tuple[int, dict[str, Any]]
"""A line number from 1 (of a Parquet file: the row's number) and what it holds."""

Reader = Callable[[Path], Iterator[Record | Bad]]

SEPARATORS = ",;\t"
"""What parts the cells of a CSV file; of several the first that the header holds."""
INDEX = re.compile(r"__index_level_\d+__")
"""Columns in which pandas keeps the index of a frame."""


def jsonl(path: Path) -> Iterator[Record | Bad]:
    """One JSON object a line; blank lines are passed over."""
    for number, line in _lines(path):
        if isinstance(line, Bad):
            yield line
        elif line.strip():
            yield _object(number, line)


def json_list(path: Path) -> Iterator[Record | Bad]:
    """A JSON list of objects, element by element."""
    with path.open("rb") as file:
        for number, element in _elements(file):
            yield element if isinstance(element, Bad) else _object(number, element)


def comma_separated(path: Path, *, headed: bool = True) -> Iterator[Record | Bad]:
    """CSV with a header; an empty cell is None. Cells may be parted by semicolons or tabs, as spreadsheets do.

    Where it is not `headed`, columns are called "1", "2" and so on, and the first line is one like any other."""
    bad: list[Bad] = []
    csv.field_size_limit(LONGEST)
    texts = _texts(path, bad)
    header = next(texts, "")
    separator = next((sign for sign in SEPARATORS if sign in header), ",")
    reader = csv.reader(chain([header], texts), strict=True, delimiter=separator)
    yield from _table(_cells(reader, bad), bad, headed=headed)


def tab_separated(path: Path, *, headed: bool = True) -> Iterator[Record | Bad]:
    """TSV with a header; a quote is a character like any other, but for a cell that is quoted as a whole."""
    bad: list[Bad] = []
    rows = ((n, [_unquoted(cell) for cell in text.rstrip("\r\n").split("\t")]) for n, text in _numbered(path, bad))
    yield from _table(rows, bad, headed=headed)


def conll(path: Path) -> Iterator[Record | Bad]:
    """A token a line, its tag in the last column; a blank line ends a sentence: `{"tokens", "tags"}`.

    Columns are parted by tabs where the line has one, else by spaces. A line before the first token of a sentence
    that begins with "# " and has a "=" is a comment, as in CoNLL-U.
    """
    bad: list[Bad] = []
    begun, tokens, tags = 1, list[str](), list[str]()
    for number, text in _numbered(path, bad):
        yield from _drained(bad)
        line = text.strip("\r\n ")
        cells = [cell.strip(" ") for cell in line.split("\t")] if "\t" in line else line.split(" ")
        if not tokens and line.startswith("# ") and "=" in line:
            continue
        if any(cells) and cells[0] != "-DOCSTART-":
            if len(cells) < 2 or not (cells[0] and cells[-1]):
                lacking = "token" if not cells[0] else "tag"
                detail = f"'{line.strip()[:80]}' has no {lacking}: a token, a tab or space and a tag are expected"
                yield Bad(number, detail)
                continue
            begun = begun if tokens else number
            tokens.append(cells[0])
            tags.append(cells[-1])
        elif tokens:
            yield begun, {"tokens": tokens, "tags": tags}
            tokens, tags = [], []
    yield from _drained(bad)
    if tokens:
        yield begun, {"tokens": tokens, "tags": tags}


def parquet(path: Path) -> Iterator[Record | Bad]:
    """The rows of a Parquet file, without the index of a data frame. NaN is None, as frames write what is missing."""
    arrow = importlib.import_module("pyarrow")
    number = 0
    try:
        with importlib.import_module("pyarrow.parquet").ParquetFile(path, memory_map=True) as file:
            names = file.schema_arrow.names
            kept = [name for name in names if not INDEX.fullmatch(name)]
            for batch in file.iter_batches(batch_size=512, columns=kept if len(kept) < len(names) else None):
                for record in batch.to_pylist():
                    number += 1
                    yield number, _without_nan(record)
    except (arrow.ArrowException, OSError, ValueError, OverflowError):
        yield Bad(number + 1, "not a readable Parquet file from here on")


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return {name: _without_nan(each) for name, each in value.items()} if isinstance(value, dict) else value


READERS: dict[str, Reader] = {
    "application/x-ndjson": jsonl,
    "application/jsonl": jsonl,
    "application/json": json_list,
    "text/csv": comma_separated,
    "text/tab-separated-values": tab_separated,
    "text/plain": conll,
    "application/vnd.apache.parquet": parquet,
}

UNHEADED: dict[str, Reader] = {
    "text/csv": partial(comma_separated, headed=False),
    "text/tab-separated-values": partial(tab_separated, headed=False),
}
"""Readers of tables whose first line need not name the columns, for `Card.headed`."""

TABLES = {"text/csv", "text/tab-separated-values", "application/vnd.apache.parquet"}
"""Media types whose records are rows of a table, for `Card.table`."""

SUFFIXES = {
    ".jsonl": "application/x-ndjson",
    ".ndjson": "application/x-ndjson",
    ".json": "application/json",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".txt": "text/plain",
    ".conll": "text/plain",
    ".parquet": "application/vnd.apache.parquet",
}
"""Endings of file names that tell what a table is."""


def _lines(path: Path) -> Iterator[tuple[int, bytes | Bad]]:
    """Lines without a byte order mark; one that is too long is passed over."""
    with path.open("rb") as file:
        if file.read(3) != BOM:
            file.seek(0)
        number = 0
        while line := file.readline(LONGEST + 1):
            number += 1
            if len(line) <= LONGEST:
                yield number, line
                continue
            while line and not line.endswith(b"\n"):
                line = file.readline(CHUNK)
            yield number, Bad(number, f"longer than {LONGEST} bytes")


def _object(number: int, data: bytes) -> Record | Bad:
    """A JSON object. A key given twice is a fault, which orjson alone would not see."""
    try:
        found = orjson.loads(data)
        if not isinstance(found, dict):
            return Bad(number, f"a JSON object is expected, not {_kind(found)}")
        if data.count(b":") != len(found):  # a nested object, a colon in a text, or a key given twice
            json.loads(data, object_pairs_hook=_distinct)
    except orjson.JSONDecodeError as error:
        return Bad(number, _why(data, error))
    except KeyError as error:
        return Bad(number, f"the key '{str(error.args[0])[:80]}' is given twice")
    except RecursionError:
        return Bad(number, "nested too deeply")
    except ValueError:
        pass  # an integer of thousands of digits, which orjson reads as a float
    return number, found


def _why(data: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        data.decode()
    except UnicodeDecodeError as wrong:
        return f"not UTF-8 at byte {wrong.start + 1} of the line"
    if re.search(rb"[:\[,]\s*-?(NaN|Infinity)", data):
        return "NaN and infinity are not JSON numbers; a missing value is null"
    return f"not JSON at column {error.colno}: {error.msg}"


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    seen = set()
    for key, _ in pairs:
        if key in seen:
            raise KeyError(key)
        seen.add(key)


def _kind(value: Any) -> str:
    kinds = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


_STRUCTURE = re.compile(rb'["{}\[\]]')
_IN_STRING = re.compile(rb'["\\]')


def _elements(file: BinaryIO) -> Iterator[tuple[int, bytes | Bad]]:
    """The objects of a JSON list as bytes, with the line each begins on."""
    data = file.read(CHUNK).removeprefix(BOM).lstrip(b" \t\r\n")
    line = 1 + _newlines_before(file)
    if not data.startswith(b"["):
        yield line, Bad(line, "a JSON list of objects is expected")
        return
    at, closed = 1, False
    while not closed:
        end = _end(data, at)
        if end is None:
            more = file.read(max(CHUNK, len(data) - at))
            if not more or len(data) - at > LONGEST:
                yield line, Bad(line, f"an element longer than {LONGEST} bytes" if more else "the list does not end")
                return
            data, at = data[at:] + more, 0
            continue
        element, follows, at = data[at:end], data[end : end + 1], end
        bare = element.lstrip(b" \t\r\n,")
        skipped = element[: len(element) - len(bare)]
        line += skipped.count(b"\n")
        if skipped.count(b",") > 1:
            yield line, Bad(line, "two commas follow each other")
        if bare:
            yield line, bare
        line += bare.count(b"\n")
        closed = follows == b"]"
        if follows == b"}":
            yield line, Bad(line, "not JSON: a brace ends what none began")
            return
    if (data[at + 1 :] + file.read(CHUNK)).strip():
        yield line, Bad(line, "something follows the end of the list")


def _newlines_before(file: BinaryIO) -> int:
    place = file.tell()
    file.seek(0)
    start = file.read(CHUNK).removeprefix(BOM)
    file.seek(place)
    return start[: len(start) - len(start.lstrip(b" \t\r\n"))].count(b"\n")


def _end(data: bytes, start: int) -> int | None:
    """Where the next element of a list's inside ends: after its object, or at the list's own end."""
    depth, place, inside = 0, start, False
    while found := (_IN_STRING if inside else _STRUCTURE).search(data, place):
        sign, place = found.group(), found.end()
        if sign == b"\\":
            place += 1
        elif sign == b'"':
            inside = not inside
        elif sign in b"{[":
            depth += 1
        else:
            depth -= 1
            if depth < 0:
                return found.start()
            if depth == 0:
                return place
    return None


def _numbered(path: Path, bad: list[Bad]) -> Iterator[tuple[int, str]]:
    """Lines as text; those that are none go to `bad` and leave a blank line."""
    for number, line in _lines(path):
        if isinstance(line, Bad):
            bad.append(line)
            yield number, "\n"
            continue
        try:
            yield number, line.decode()
        except UnicodeDecodeError as wrong:
            bad.append(Bad(number, f"not UTF-8 at byte {wrong.start + 1} of the line; save the file as UTF-8"))
            yield number, "\n"


def _texts(path: Path, bad: list[Bad]) -> Iterator[str]:
    return (text for _, text in _numbered(path, bad))


def _cells(reader: Any, bad: list[Bad]) -> Iterator[tuple[int, list[str]]]:
    """Rows of a CSV reader with the line each begins on."""
    while True:
        begun = reader.line_num + 1
        try:
            yield begun, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            bad.append(Bad(begun, f"not CSV: {error}"))
            yield begun, []


def _table(rows: Iterator[tuple[int, list[str]]], bad: list[Bad], *, headed: bool) -> Iterator[Record | Bad]:
    """Rows under the names of the first one, or under their places."""
    header: list[str] | None = None
    for number, cells in rows:
        yield from _drained(bad)
        if not cells or cells == [""]:
            continue
        if header is None and not headed:
            header = [str(place) for place in range(1, len(cells) + 1)]
        if header is None:
            header = [cell.strip() for cell in cells]
            twice = next((name for name in header if header.count(name) > 1), None) if len(header) < 10_000 else None
            if twice is not None or "" in header:
                yield Bad(number, f"the column '{twice[:80]}' is named twice" if twice else "a column has no name")
                return
        elif len(cells) != len(header):
            yield Bad(number, f"{len(cells)} cell{'s' * (len(cells) != 1)} where the first line has {len(header)}")
        else:
            yield number, {name: cell if cell != "" else None for name, cell in zip(header, cells, strict=True)}
    yield from _drained(bad)


def _unquoted(cell: str) -> str:
    inner = cell[1:-1]
    whole = len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if whole else cell


def _drained(bad: list[Bad]) -> Iterator[Bad]:
    while bad:
        yield bad.pop(0)
