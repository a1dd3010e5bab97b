"""Files kept by the SHA-256 of their bytes. Knows folders and digests, never what a file means."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from app.errors import Away, CellgateError, Invalid, NotFound

_DIGEST = re.compile(r"[0-9a-f]{64}")
BLOCK = 8 * 1024 * 1024
"""Bytes of a file that are on their way at once, a few times over: its size bounds no memory."""
AWS = {"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 3, "mode": "standard"}}
"""What does not answer is given up in seconds. Keys and endpoint are taken from the usual `AWS_` variables."""


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
    """Blobs at any address that fsspec knows (`s3://bucket/cellgate`). Raises `Away` for whatever goes wrong there."""

    def __init__(self, address: str) -> None:
        """Raises `Invalid` where the address means nothing, or a library is missing that it needs."""
        self._s3 = urlsplit(address).scheme in {"s3", "s3a"}
        # Other processes write there too: nothing that was listed may be taken for what is there now.
        options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
        if self._s3:
            options |= {"config_kwargs": AWS, "default_block_size": BLOCK, "max_concurrency": 2}
        try:
            system, root = importlib.import_module("fsspec").core.url_to_fs(address, **options)
        except (ImportError, ValueError) as error:
            raise Invalid(f"CELLGATE_BLOBS: {error}; for s3:// install cellgate[s3]") from None
        self._system: Any = system
        self._root = str(root).rstrip("/")

    def put(self, path: Path) -> str:
        found = digest(path)
        place = self._place(found)
        # Written even where it is there already: its time is then now, and no sweep takes it for a leftover.
        with reached():
            if self._s3:  # an object is seen whole or not at all
                self._system.put_file(str(path), place, chunksize=BLOCK)
            else:
                incoming = f"{place}.incoming-{secrets.token_hex(4)}"
                self._system.makedirs(place.rpartition("/")[0], exist_ok=True)
                self._system.put_file(str(path), incoming)
                self._system.mv(incoming, place)
        path.unlink()
        return found

    def open(self, digest: str) -> BinaryIO:
        with reached():
            try:
                return io.BufferedReader(_Reading(self._system.open(self._place(digest), "rb")))
            except FileNotFoundError:
                raise NotFound(f"no blob {digest}") from None

    def path(self, digest: str) -> Path | None:
        return None

    def exists(self, digest: str) -> bool:
        with reached():
            return bool(self._system.exists(self._place(digest)))

    def delete(self, digest: str) -> None:
        with reached(), contextlib.suppress(FileNotFoundError):
            self._system.rm_file(self._place(digest))

    def listed(self) -> Iterator[tuple[str, float]]:
        now, folders = time.time(), []
        with reached(), contextlib.suppress(FileNotFoundError):
            folders = self._system.ls(self._root, detail=False)
        for folder in folders:  # one at a time: a large store is never in memory as a whole
            with reached():
                files = self._system.find(folder, detail=True)
            for place, facts in files.items():
                name = str(place).rpartition("/")[2]
                if _DIGEST.fullmatch(name):
                    yield name, now - _written(facts)

    def _place(self, digest: str) -> str:
        return f"{self._root}/{_checked(digest)[:2]}/{digest}"


class _Reading(io.RawIOBase):
    """A file of a store: what goes wrong while it is read is `Away`, as where it is opened."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with reached():
            return int(self._file.readinto(buffer))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def close(self) -> None:
        self._file.close()
        super().close()


@contextlib.contextmanager
def reached() -> Iterator[None]:
    """What a store raises that is not there, or refuses, becomes `Away`."""
    try:
        yield
    except CellgateError:
        raise
    except Exception as error:  # every store has errors of its own
        raise Away(f"the blob store cannot be used now ({type(error).__name__})", retry_after=10) from error


def open_blobs(address: str) -> Blobs:
    """The blob store at an address: `file://<folder>`, a bare folder, or any that fsspec knows. Raises `Invalid`."""
    parts = urlsplit(address)
    if parts.scheme in {"", "file"}:
        return FolderBlobs(Path(unquote(parts.path)))
    return RemoteBlobs(address)


def local(blobs: Blobs, digest: str, scratch: Path) -> Path:
    """A blob as a file of this machine: its own place in a folder, else a copy in `scratch`, checked by its digest.

    Raises `NotFound`, and `Away` where the store does not answer or gives other bytes than were put there.
    """
    found = blobs.path(digest)
    if found is not None:
        return found
    copy, sums = scratch / digest, hashlib.sha256()
    with blobs.open(digest) as source, copy.open("wb") as sink:
        while block := source.read(BLOCK):
            sums.update(block)
            sink.write(block)
    if sums.hexdigest() != digest:
        copy.unlink()
        raise Away(f"the blob store gives other bytes for {digest} than were put there", retry_after=10)
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
