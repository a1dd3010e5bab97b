"""A zip of recordings as rows: its one table names the files and says which phonemes they hold. Knows no sound.

The table has a row for each recording, with `audio` (a file of the zip) and `phonemes` (JSON Lines, JSON,
Parquet), or a row for each phoneme: `audio`, `label`, `start`, `end` and if need be `split` (CSV, TSV),
those of one recording one after the other. A recording without phonemes has one row with no label.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from models.archive import Archive
from models.readers import Bad, Record

PHONE = ("label", "start", "end")


def rows(archive: Archive) -> Iterator[Record | Bad]:
    """Records of rows, each with the bytes of its recording."""
    for found in _whole(archive.rows({})):
        if isinstance(found, Bad) or "audio" not in found[1]:
            yield found
            continue
        line, fields = found
        try:
            if not isinstance(fields["audio"], str):
                raise ValueError("`audio` must name a file of the zip")
            yield line, {**fields, "audio": archive.read(fields["audio"])}
        except ValueError as error:
            yield Bad(line, str(error))


def _whole(records: Iterator[Record | Bad]) -> Iterator[Record | Bad]:
    """Rows of single phonemes, gathered under their recordings; every other row as it is."""
    for name, group in itertools.groupby(records, key=_recording):
        if name is None:
            yield from group
        else:
            yield _gathered([record for record in group if not isinstance(record, Bad)])


def _recording(record: Record | Bad) -> Any:
    """The recording that a row of a single phoneme belongs to; None for any other row."""
    return None if isinstance(record, Bad) or not set(PHONE) <= record[1].keys() else record[1].get("audio")


def _gathered(records: list[Record]) -> Record:
    line, first = records[0]
    phones = [{name: fields[name] for name in PHONE} for _, fields in records]
    shared = {name: value for name, value in first.items() if name not in PHONE and value is not None}
    return line, {**shared, "phonemes": [phone for phone in phones if any(v is not None for v in phone.values())]}
