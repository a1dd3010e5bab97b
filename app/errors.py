"""Every error a use case raises, as one tree. Knows no status code: app/api/problems.py maps them.

CellgateError
├── Invalid            what was sent cannot be used; `errors` name each place
├── NotFound
├── Gone               it was there, and is no more
├── Conflict           the thing exists, but its state does not allow this
├── TooLarge
├── Refused
│   ├── Unauthenticated
│   └── Forbidden
└── Busy               try again after `retry_after` seconds
    ├── Limited        the caller's own limit
    ├── Full           the service's
    ├── Away           the blob store does not answer
    └── Late           the deadline passed before its turn
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """One thing wrong with what was sent: a sentence, and where (a JSON pointer, or a line from 1)."""

    detail: str
    pointer: str | None = None
    line: int | None = None


class CellgateError(Exception):
    """A sentence for the caller: names the value and the remedy, never a path, a query or a secret."""

    type = "error"
    """The stable last part of the problem's `type`."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Invalid(CellgateError):
    """What was sent cannot be used."""

    type = "invalid"

    def __init__(self, detail: str, *, errors: Sequence[Flaw] = (), faults: int | None = None) -> None:
        super().__init__(detail)
        self.errors = list(errors)
        self.faults = faults if faults is not None else len(self.errors)
        """How many flaws there are in all; `errors` may name the first ones alone."""


class NotFound(CellgateError):
    """Nothing of that name or id."""

    type = "not-found"


class Gone(CellgateError):
    """It was there, and is no more."""

    type = "gone"


class Conflict(CellgateError):
    """The thing exists, but its state does not allow this."""

    type = "conflict"


class TooLarge(CellgateError):
    """More than a limit allows."""

    type = "too-large"


class Refused(CellgateError):
    """The caller may not do this."""

    type = "refused"


class Unauthenticated(Refused):
    """No key, or an unknown one."""

    type = "unauthenticated"


class Forbidden(Refused):
    """A key without the scope."""

    type = "forbidden"


class Busy(CellgateError):
    """Not now."""

    type = "busy"

    def __init__(self, detail: str, *, retry_after: float) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Limited(Busy):
    """The caller's own limit."""

    type = "limited"


class Full(Busy):
    """The service's limit, or a model that cannot be loaded now."""

    type = "full"


class Away(Busy):
    """A part that the service needs, and that lies elsewhere, does not answer."""

    type = "away"


class Late(Busy):
    """The deadline passed before the request's turn."""

    type = "late"
