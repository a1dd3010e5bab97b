"""A request's body to a file: streamed, hashed and limited on its way. Knows bytes, never what they mean."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePath

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.types import Message

from app.errors import Flaw, Invalid, TooLarge

CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Upload:
    """What arrived."""

    path: Path
    bytes: int
    digest: str
    media_type: str
    """Without its parameters, in small letters; "" where the request named none."""
    filename: str
    """As the caller's form named it; "" for a bare body."""

    @property
    def suffix(self) -> str:
        """The ending of the file's name, in small letters with its dot."""
        return PurePath(self.filename).suffix.lower()


async def received(request: Request, path: Path, *, limit: int) -> Upload:
    """Write the body, or the form's `file`, to `path`. Raises `TooLarge`, `Invalid`."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    media_type = _bare(request.headers.get("content-type", ""))
    if media_type == "multipart/form-data":
        return await _form(request, path, limit)
    digest, count = hashlib.sha256(), 0
    with path.open("wb") as file:
        async for chunk in request.stream():
            count += len(chunk)
            if count > limit:
                raise _too_large(limit)
            digest.update(chunk)
            await run_in_threadpool(file.write, chunk)
    return Upload(path, count, digest.hexdigest(), media_type, "")


async def _form(request: Request, path: Path, limit: int) -> Upload:
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await request.receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise _too_large(limit)
        return message

    try:
        async with Request(request.scope, counted).form(max_files=1, max_fields=8) as form:
            given = form.get("file")
            if not isinstance(given, UploadFile) or len(form) > 1:
                raise _no_file("the form must hold one field, `file`, and in it a file")
            digest, count = hashlib.sha256(), 0
            with path.open("wb") as file:
                while chunk := await given.read(CHUNK):
                    count += len(chunk)
                    digest.update(chunk)
                    await run_in_threadpool(file.write, chunk)
            return Upload(path, count, digest.hexdigest(), _bare(given.content_type or ""), given.filename or "")
    except (MultiPartException, HTTPException, KeyError, UnicodeDecodeError):
        raise _no_file("the multipart form cannot be read") from None


def _bare(media_type: str) -> str:
    return media_type.partition(";")[0].strip().lower()


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is longer than {limit} bytes, the most that CELLGATE_MAX_BODY allows")


def _no_file(detail: str) -> Invalid:
    return Invalid(detail, errors=[Flaw(detail=detail, pointer="/file")])
