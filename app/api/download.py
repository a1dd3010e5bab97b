"""Files on their way to a caller: streamed, with their digest as `ETag`. Knows no service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from fastapi import Response
from fastapi.responses import StreamingResponse

CHUNK = 1024 * 1024


def streamed(
    file: BinaryIO, digest: str, *, size: int, filename: str, media_type: str, if_none_match: str | None
) -> Response:
    """The bytes of an open file, which is closed at the end; 304 where the caller has them already.

    Its first bytes are read here, before a status is sent: a store that gives none is a problem, no broken answer.
    """
    tag = f'"{digest}"'
    if if_none_match is not None and tag in if_none_match:
        file.close()
        return Response(status_code=304, headers={"ETag": tag})
    try:
        first = file.read(CHUNK)
    except BaseException:
        file.close()
        raise
    headers = {
        "ETag": tag,
        "Content-Length": str(size),
        "Content-Disposition": f'attachment; filename="{filename}"',
    }
    return StreamingResponse(_chunks(first, file), media_type=media_type, headers=headers)


def _chunks(first: bytes, file: BinaryIO) -> Iterator[bytes]:
    with file:
        chunk = first
        while chunk:
            yield chunk
            chunk = file.read(CHUNK)
