"""Files kept by the SHA-256 of their bytes. Knows folders and digests, never what a file means."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast
from urllib.parse import unquote, urlsplit

from app.errors import NotFound

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Blobs(Protocol):
    """Where files are kept."""

    def put(self, path: Path) -> str:
        """Take a file over (it is gone from `path`) and return its digest; all of it is kept, or nothing."""
        ...

    def open(self, digest: str) -> BinaryIO:
        """The file's bytes. Raises `NotFound`."""
        ...

    def path(self, digest: str) -> Path | None:
        """The file on this machine, where it lies on one."""
        ...

    def exists(self, digest: str) -> bool: ...

    def delete(self, digest: str) -> None:
        """Forget a file; one that is not there is no error."""
        ...

    def listed(self) -> Iterator[tuple[str, float]]:
        """Every file's digest, and the seconds since it was last put."""
        ...


class FolderBlobs:
    """Blobs in a folder of this machine, or one that every machine mounts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, path: Path) -> str:
        found = digest(path)
        place = self._place(found)
        if place.exists():
            os.utime(place)  # put again: no sweep may take it for a leftover
            path.unlink()
            return found
        place.parent.mkdir(exist_ok=True)
        handle, name = tempfile.mkstemp(dir=place.parent, prefix=".incoming-")
        os.close(handle)
        try:
            try:
                path.replace(name)
            except OSError:  # another file system
                shutil.copyfile(path, name)
                path.unlink()
            with Path(name).open("rb") as file:
                os.fsync(file.fileno())
            Path(name).replace(place)
        finally:
            Path(name).unlink(missing_ok=True)
        return found

    def open(self, digest: str) -> BinaryIO:
        try:
            return self._place(digest).open("rb")
        except FileNotFoundError:
            raise NotFound(f"no blob {digest}") from None

    def path(self, digest: str) -> Path | None:
        place = self._place(digest)
        return place if place.exists() else None

    def exists(self, digest: str) -> bool:
        return self._place(digest).exists()

    def delete(self, digest: str) -> None:
        self._place(digest).unlink(missing_ok=True)

    def listed(self) -> Iterator[tuple[str, float]]:
        now = time.time()
        for path in self.folder.glob("??/*"):
            with contextlib.suppress(FileNotFoundError):
                if _DIGEST.fullmatch(path.name):
                    yield path.name, now - path.stat().st_mtime

    def _place(self, digest: str) -> Path:
        return self.folder / _checked(digest)[:2] / digest


class RemoteBlobs:
    """Blobs at any address that fsspec knows (`s3://bucket/cellgate`)."""

    def __init__(self, address: str) -> None:
        system, root = importlib.import_module("fsspec").core.url_to_fs(address)
        self._system: Any = system
        self._root = str(root).rstrip("/")

    def put(self, path: Path) -> str:
        found = digest(path)
        # Written even where it is there already: its time is then now, and no sweep takes it for a leftover.
        self._system.makedirs(self._place(found).rpartition("/")[0], exist_ok=True)
        self._system.put_file(str(path), self._place(found) + ".incoming")
        self._system.mv(self._place(found) + ".incoming", self._place(found))
        path.unlink()
        return found

    def open(self, digest: str) -> BinaryIO:
        try:
            return cast(BinaryIO, self._system.open(self._place(digest), "rb"))
        except FileNotFoundError:
            raise NotFound(f"no blob {digest}") from None

    def path(self, digest: str) -> Path | None:
        return None

    def exists(self, digest: str) -> bool:
        return bool(self._system.exists(self._place(digest)))

    def delete(self, digest: str) -> None:
        if self.exists(digest):
            self._system.rm_file(self._place(digest))

    def listed(self) -> Iterator[tuple[str, float]]:
        now = time.time()
        for place, facts in self._system.find(self._root, detail=True).items():
            name = str(place).rpartition("/")[2]
            if _DIGEST.fullmatch(name):
                yield name, now - _written(facts)

    def _place(self, digest: str) -> str:
        return f"{self._root}/{_checked(digest)[:2]}/{digest}"


def open_blobs(address: str) -> Blobs:
    """The blob store at an address: `file://<folder>`, a bare folder, or any that fsspec knows."""
    parts = urlsplit(address)
    if parts.scheme in {"", "file"}:
        return FolderBlobs(Path(unquote(parts.path)))
    return RemoteBlobs(address)


def local(blobs: Blobs, digest: str, scratch: Path) -> Path:
    """A blob as a file of this machine: its own place in a folder, else a copy in `scratch`."""
    found = blobs.path(digest)
    if found is not None:
        return found
    copy = scratch / digest
    with blobs.open(digest) as source, copy.open("wb") as sink:
        shutil.copyfileobj(source, sink)
    return copy


def put_copy(blobs: Blobs, path: Path) -> str:
    """Put a file that stays where it is as well: under a second name, where its file system has such."""
    copy = path.with_suffix(".copy")
    try:
        os.link(path, copy)
    except OSError:
        shutil.copyfile(path, copy)
    return blobs.put(copy)


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _written(facts: dict[str, Any]) -> float:
    """When a file was written, by whichever name its file system has for it; now, where it has none."""
    for name in ("LastModified", "mtime", "last_modified", "updated", "created"):
        if (when := facts.get(name)) is not None:
            return float(when.timestamp() if isinstance(when, datetime) else when)
    return time.time()


def _checked(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise NotFound("a blob's name is a SHA-256 in hexadecimal")
    return digest
