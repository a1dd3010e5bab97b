"""Structured logs. Knows levels and formats; what is logged is never a key, a payload or a client's text."""

from __future__ import annotations

import asyncio
import atexit
import logging
import sys
from typing import Any, BinaryIO, cast

import orjson
import structlog

from app.settings import Settings

PATIENCE = 0.1
"""Seconds until the line of a request is written at most."""
WHOLE = 4096
"""Bytes that a pipe takes as a whole (POSIX's PIPE_BUF on Linux): lines of several processes are not mixed."""


def configure(settings: Settings) -> None:
    """Log to stderr: in colours on a terminal, as JSON elsewhere."""
    console = _on_console(settings)
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if console else [structlog.processors.format_exc_info]),
            _console() if console else structlog.processors.JSONRenderer(serializer=_json),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr)
        if console
        else structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=False,
    )


def requests(settings: Settings) -> Any:
    """The logger of requests. Where it writes JSON, some lines go at a time: a write for each would let other threads
    run in the middle of every request."""
    if _on_console(settings):
        return structlog.get_logger("cellgate.access")
    return structlog.wrap_logger(structlog.BytesLogger(cast("BinaryIO", _Gathered(sys.stderr.buffer))))


class _Gathered:
    """A file that is written to some lines at a time. Belongs to one event loop."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._lines = file, list[bytes]()
        atexit.register(self._written)

    def write(self, line: bytes) -> None:
        if not self._lines:
            asyncio.get_running_loop().call_later(PATIENCE, self._written)
        self._lines.append(line)

    def flush(self) -> None:
        """Later."""

    def _written(self) -> None:
        lines, self._lines = self._lines, []
        if self._file.closed:  # at the very end of a process
            return
        part = b""
        for line in lines:
            if len(part) + len(line) > WHOLE:
                self._put(part)
                part = b""
            part += line
        self._put(part)

    def _put(self, part: bytes) -> None:
        self._file.write(part)
        self._file.flush()


def _on_console(settings: Settings) -> bool:
    return settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())


def _json(event: Any, **how: Any) -> bytes:
    """The event as JSON; how it is done otherwise, as `default`, is taken as it comes."""
    return orjson.dumps(event, default=how.get("default"), option=orjson.OPT_NON_STR_KEYS)


def _console() -> structlog.dev.ConsoleRenderer:
    """Plain tracebacks: the pretty ones print local variables, and with them a client's text."""
    return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
