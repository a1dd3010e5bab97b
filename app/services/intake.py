"""An uploaded file to canonical rows: validated, counted and split, in bounded memory. Knows cards; no table, no HTTP.

Two passes: the first validates every row and writes it down with the part it names; the second gives
a part to those that name none, and looks for rows that several parts share.
"""

from __future__ import annotations

import hashlib
import random
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import orjson
from pydantic import ValidationError

from app.errors import Flaw, Invalid
from models import archive
from models.faults import summary
from models.readers import READERS, TABLES, UNHEADED, Bad, Record
from models.task import PARTS, Card, Fault, Part, Schema, Tally

NAMED = 20
"""Faults that are told in full; the others are counted."""

FEW = 10
"""A data set of fewer rows is not cut: all of it is learnt from."""

Of = Literal["rows", "items"]

BLOCK: tuple[Part, ...] = ("train",) * 8 + ("validation", "test")


@dataclass
class Taken:
    """What was found in a file whose every row is good."""

    rows: int
    splits: dict[str, int]
    split_seed: int | None
    stats: dict[str, Any]
    warnings: list[str]


@dataclass
class _Faults:
    flaws: list[Flaw] = field(default_factory=list)
    count: int = 0

    def add(self, line: int | None, detail: str) -> None:
        self.count += 1
        if len(self.flaws) < NAMED:
            self.flaws.append(Flaw(detail=detail, line=line))


class _Uncounted(Tally):
    """Of items there is nothing to count."""

    def add(self, row: Any, *, line: int, part: Part | None) -> None: ...

    def stats(self) -> dict[str, Any]:
        return {}


@dataclass
class _Seen:
    """What the first pass finds: faults, statistics, and how many rows name each part (None: no part)."""

    tally: Tally
    faults: _Faults = field(default_factory=_Faults)
    counts: dict[Part | None, int] = field(default_factory=dict)

    def of(self, part: Part | None) -> int:
        return self.counts.get(part, 0)


def take(path: Path, into: Path, card: Card, media_type: str, *, seed: int, of: Of = "rows") -> Taken:
    """Write the rows of `path` to `into`, one `{"part", "row"}` a line; of items, which have no answer, none is in a
    part. Raises `Invalid`, with the lines."""
    if media_type == archive.MEDIA_TYPE and card.archive is None:
        raise Invalid(f"{card.name} takes no zip; send one of: {', '.join(READERS)}")
    if media_type not in READERS and media_type != archive.MEDIA_TYPE:
        raise Invalid(f"cannot read '{media_type}'; known: {', '.join((*READERS, archive.MEDIA_TYPE))}")
    first = into.with_suffix(".first")
    try:
        seen = _Seen(card.tally() if of == "rows" else _Uncounted())
        tally, faults = seen.tally, seen.faults
        with first.open("wb") as file:
            read = card.row.model_validate if of == "rows" else partial(_item, card)
            records = _records(path, card, media_type, faults)
            if of == "rows" and media_type in TABLES:
                records = _headed(records, card, faults)
            _validate(records, file, read, seen)
        total = sum(seen.counts.values())
        if not faults.count and not total:
            faults.add(None, "the file holds no row")
        if not faults.count:
            for line, detail in tally.faults():
                faults.add(line, detail)
        if faults.count:
            many = "1 fault" if faults.count == 1 else f"{faults.count} faults"
            detail = f"nothing was stored: {many} in the file"
            raise Invalid(detail, errors=faults.flaws, faults=faults.count)
        if of == "items":
            first.replace(into)
            return Taken(total, dict.fromkeys(PARTS, 0), None, {}, [])
        chooser = _Chooser(card, seen, seed)
        splits, leaks = _divide(first, into, chooser, answers={*card.answers, "id"})
        warnings = [*tally.warnings(), *chooser.warnings(), *leaks]
        return Taken(total, splits, chooser.seed_used, tally.stats(), warnings)
    finally:
        first.unlink(missing_ok=True)


def _item(card: Card, record: Mapping[str, Any]) -> Schema:
    """The item of a record; what a row has beside it may stand there. Raises `ValidationError`, `Fault`."""
    unknown = sorted(record.keys() - card.row.model_fields.keys() - card.fields)
    if unknown:
        raise Fault(f"unknown field '{unknown[0][:80]}'; an item has: {', '.join(sorted(card.fields))}")
    found: Schema = card.parse_item(card.asked(record))
    return found


def _validate(records: Iterator[Record], out: BinaryIO, read: Callable[[Any], Schema], seen: _Seen) -> None:
    faults = seen.faults
    for number, record in records:
        try:
            row = read(record)
            written = _canonical(row)
        except ValidationError as error:
            faults.add(number, summary(error, record))
            continue
        except Fault as fault:
            faults.add(number, fault.detail)
            continue
        except (ValueError, TypeError, OverflowError, RecursionError):
            faults.add(number, "a value in this row cannot be read")
            continue
        if faults.count:
            continue
        part: Part | None = getattr(row, "split", None)
        seen.counts[part] = seen.of(part) + 1
        seen.tally.add(row, line=number, part=part)
        out.write(b'{"part":%b,"row":%b}\n' % (orjson.dumps(part), written))


def _canonical(row: Schema) -> bytes:
    """A row as it is kept: without the fields it does not give; a null inside one of them stays, it may mean a rest."""
    absent = {name for name in type(row).model_fields if getattr(row, name) is None}
    return row.model_dump_json(exclude={"split", *absent}).encode()


def _records(path: Path, card: Card, media_type: str, faults: _Faults) -> Iterator[Record]:
    """The readable records; the others go to the faults. A table's become rows first."""
    last = 1

    def readable() -> Iterator[Record]:
        nonlocal last
        for found in _read(path, card, media_type):
            if isinstance(found, Bad):
                faults.add(found.line, found.detail)
                continue
            last = found[0]
            yield found

    if media_type not in TABLES or card.table is None:
        yield from readable()
        return
    try:
        for made in card.table(readable()):
            if isinstance(made, Bad):
                faults.add(made.line, made.detail)
            else:
                yield made[0], dict(made[1])
    except Fault as fault:
        faults.add(last, fault.detail)
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
        faults.add(last, f"the table does not read as rows of {card.name}")


def _headed(records: Iterator[Record], card: Card, faults: _Faults) -> Iterator[Record]:
    """The records of a table; none where its columns are not those of a row, which is then said once."""
    first = next(records, None)
    if first is None:
        return
    _, record = first
    fields = card.row.model_fields
    lacking = [f"`{name}`" for name, field in fields.items() if field.is_required() and name not in record]
    strange = [f"`{name[:80]}`" for name in record if name not in fields]
    if not lacking and not strange:
        yield from chain([first], records)
        return
    wrong = [f"no column {', '.join(lacking)}"] * bool(lacking) + [
        f"unknown column{'s' * (len(strange) > 1)} {', '.join(strange[:10])}"
    ] * bool(strange)
    faults.add(1, f"{'; '.join(wrong)}; a row of {card.name} has {', '.join(fields)}")


def _read(path: Path, card: Card, media_type: str) -> Iterator[Record | Bad]:
    if media_type != archive.MEDIA_TYPE or card.archive is None:
        readers = READERS if card.headed else {**READERS, **UNHEADED}
        yield from readers[media_type](path)
        return
    try:
        opened = archive.Archive(path)
    except ValueError as error:
        yield Bad(1, str(error))
        return
    with closing(opened):
        try:
            yield from card.archive(opened)
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
            yield Bad(1, f"the zip does not read as rows of {card.name}")


class _Chooser:
    """Gives a part to a row that names none, the same one for the same seed and place.

    Each label draws from its own shuffled blocks of ten (8 train, 1 validation, 1 test), so that the
    shares hold for every label, in one pass.
    """

    def __init__(self, card: Card, named: _Seen, seed: int) -> None:
        self._by_time = card.split_by == "time"
        self._unnamed, self._train = named.of(None), named.of("train")
        self._own = any(named.of(part) for part in PARTS)
        self._few = self._unnamed + self._train < FEW
        no_validation = not named.of("validation")
        self._carves = self._own and no_validation and not self._few and not self._by_time
        self._cuts = not self._own and not self._by_time and not self._few
        self.seed_used = seed if self._cuts or self._carves else None
        self._seed = seed
        self._blocks: dict[str, list[Part]] = {}
        self._turns = 0

    def part(self, own: Part | None, row: dict[str, Any]) -> Part | None:
        if self._by_time:
            return own
        if self._cuts:
            return self._next(row)
        part = own or "train"
        if self._carves and part == "train":
            return "validation" if self._next(row) == "validation" else "train"
        return part

    def _next(self, row: dict[str, Any]) -> Part:
        label = row.get("label")
        group = label if isinstance(label, str) else ""
        block = self._blocks.get(group)
        if not block:
            self._turns += 1
            block = list(BLOCK)
            mark = f"{self._seed}:{self._turns}:{group}"
            random.Random(mark).shuffle(block)  # noqa: S311  a split, not a secret
            self._blocks[group] = block
        return block.pop()

    def warnings(self) -> list[str]:
        found = []
        if self._own and self._unnamed and not self._by_time:
            found.append(f"{self._unnamed} rows name no split and went to train")
        if self._carves:
            found.append("no row names the validation part: a tenth of the training rows, chosen by seed, became it")
        if not self._own and self._few and not self._by_time:
            found.append(f"fewer than {FEW} rows: all of them went to train, nothing is left to judge by")
        return found


def _divide(first: Path, into: Path, chooser: _Chooser, *, answers: set[str]) -> tuple[dict[str, int], list[str]]:
    """The second pass: how many rows each part has, and warnings of rows that several share."""
    counts: dict[str, int] = dict.fromkeys(PARTS, 0)
    marks, parts = array("Q"), array("B")
    with first.open("rb") as source, into.open("wb") as out:
        for line in source:
            record = orjson.loads(line)
            row = record["row"]
            part = chooser.part(record["part"], row)
            if part == record["part"]:
                out.write(line)
            else:
                out.write(b'{"part":%b,"row":%b}\n' % (orjson.dumps(part), _row_bytes(line)))
            for one in PARTS if part is None else (part,):
                counts[one] += 1
            if part is not None:
                marks.append(_mark(row, answers))
                parts.append(PARTS.index(part))
    return counts, _leaks(marks, parts)


def _row_bytes(line: bytes) -> bytes:
    return line[line.index(b'"row":') + 6 : -2]


def _mark(row: dict[str, Any], answers: set[str]) -> int:
    told = orjson.dumps(
        {name: value for name, value in row.items() if name not in answers}, option=orjson.OPT_SORT_KEYS
    )
    return int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "little")


def _leaks(marks: array[int], parts: array[int]) -> list[str]:
    """Rows of validation and test that lie in train as well, found by 8-byte marks."""
    if not marks:
        return []
    mark, part = np.frombuffer(marks, dtype=np.uint64), np.frombuffer(parts, dtype=np.uint8)
    learnt = np.unique(mark[part == 0])
    found = []
    for index, name in enumerate(PARTS[1:], start=1):
        shared = int(np.isin(mark[part == index], learnt).sum())
        if shared:
            found.append(
                f"{shared} of {int((part == index).sum())} rows of {name} are in train as well: scores flatter; "
                "leave rows that stand there twice out of the file"
            )
    return found
