"""Structured logs. Knows levels and formats; what is logged is never a key, a payload or a client's text."""

from __future__ import annotations

import logging
import sys
from typing import Any

import orjson
import structlog

from app.settings import Settings


def configure(settings: Settings) -> None:
    """Log to stderr: in colours on a terminal, as JSON elsewhere."""
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
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


def _json(event: Any, **how: Any) -> bytes:
    """The event as JSON; how it is done otherwise, as `default`, is taken as it comes."""
    return orjson.dumps(event, default=how.get("default"), option=orjson.OPT_NON_STR_KEYS)


def _console() -> structlog.dev.ConsoleRenderer:
    """Plain tracebacks: the pretty ones print local variables, and with them a client's text."""
    return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
