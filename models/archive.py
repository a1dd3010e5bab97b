"""A zip of files as numbered records: a table of rows that names others, or files that are rows. Knows no task.

Nothing is written under a name from inside a zip; a file is read into memory by itself, and never more
of it than `LARGEST_FILE`.
"""

from __future__ import annotations

import lzma
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from models.readers import READERS, SUFFIXES, Bad, Record

MEDIA_TYPE = "application/zip"
LARGEST_FILE = 256 * 1024 * 1024
LARGEST = 8 * 1024 * 1024 * 1024
MOST_FILES = 200_000
LITTER = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")
"""What file managers leave behind."""

DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    RuntimeError,  # `zipfile` raises it for an encrypted file, and its subclass for a compression it does not know
    EOFError,
    OSError,
    ValueError,
)
"""What `zipfile` raises on a damaged, foreign or hostile zip."""

Attach = Callable[[bytes], Any]
"""What a named file becomes in its row. Raises `ValueError`, in a sentence, on a file that cannot be used."""


class Archive:
    """The files of a zip. Raises `ValueError`, in a sentence, where it cannot be read."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except DAMAGED:
            raise ValueError("the file is not a readable zip archive") from None
        entries = [entry for entry in self._zip.infolist() if not entry.is_dir() and not _litter(entry.filename)]
        if len(entries) > MOST_FILES:
            raise ValueError(f"{len(entries)} files in the zip; at most {MOST_FILES}")
        if sum(entry.file_size for entry in entries) > LARGEST:
            raise ValueError(f"the files of the zip are larger than {LARGEST} bytes together")
        self._entries = {entry.filename: entry for entry in entries}
        self._bare: dict[str, list[str]] = {}
        for name in self._entries:
            self._bare.setdefault(PurePosixPath(name).name, []).append(name)

    @property
    def names(self) -> list[str]:
        """Every file, sorted."""
        return sorted(self._entries)

    def read(self, name: str) -> bytes:
        """The bytes of a file: by its whole name, or by its last part where one file alone has it."""
        alike = self._bare.get(PurePosixPath(name).name, [])
        found = name if name in self._entries else alike[0] if len(alike) == 1 else None
        if found is None:
            raise ValueError(f"the zip holds no file '{name[:200]}'" + (" (several end so)" if alike else ""))
        try:
            with self._zip.open(self._entries[found]) as file:
                data = file.read(LARGEST_FILE + 1)
        except DAMAGED:
            raise ValueError(f"the file '{found[:200]}' of the zip is damaged") from None
        if len(data) > LARGEST_FILE:
            raise ValueError(f"the file '{found[:200]}' is larger than {LARGEST_FILE} bytes")
        return data

    def rows(self, attach: Mapping[str, Attach]) -> Iterator[Record | Bad]:
        """The records of the zip's one table (rows.jsonl, manifest.csv, ...); where a field in `attach` holds the
        name of a file, it becomes what the function makes of that file's bytes."""
        tables = [name for name in self.names if _suffix(name) in SUFFIXES and _suffix(name) != ".txt"]
        if len(tables) != 1:
            held = f"{len(tables)}: {', '.join(tables[:5])}" if tables else "none"
            yield Bad(1, f"the zip must hold one table of rows (.jsonl, .csv, .tsv, ...); it holds {held}")
            return
        with tempfile.NamedTemporaryFile(suffix=_suffix(tables[0])) as copy:
            copy.write(self.read(tables[0]))
            copy.flush()
            for record in READERS[SUFFIXES[_suffix(tables[0])]](Path(copy.name)):
                yield record if isinstance(record, Bad) else self._attached(record, attach)

    def _attached(self, record: Record, attach: Mapping[str, Attach]) -> Record | Bad:
        line, fields = record
        try:
            named = {name: fields[name] for name in attach if isinstance(fields.get(name), str)}
            return line, {**fields, **{name: attach[name](self.read(file)) for name, file in named.items()}}
        except ValueError as error:
            return Bad(line, str(error))

    def files(self, suffixes: Sequence[str]) -> Iterator[tuple[int, str, bytes | Bad]]:
        """The files with one of these endings, in the order of their names: a number from 1, the name, the bytes."""
        chosen = [name for name in self.names if _suffix(name) in suffixes]
        for number, name in enumerate(chosen, start=1):
            try:
                yield number, name, self.read(name)
            except ValueError as error:
                yield number, name, Bad(number, str(error))

    def close(self) -> None:
        """Let the file go."""
        self._zip.close()


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _litter(name: str) -> bool:
    return any(part in LITTER or part.startswith("._") for part in PurePosixPath(name).parts)
