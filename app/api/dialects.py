"""How errors are said under the addresses of other protocols, which have shapes of their own. Knows no error.

Everything else answers problems (RFC 9457). What a protocol cannot hold of one, its places, goes into the sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.errors import Flaw

TOLD = 5
"""Flaws that one sentence names."""
UNFIT = {422: 400}
"""These protocols know one status for what cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """The errors of one protocol."""

    body: Callable[[int, str, Sequence[Flaw]], dict[str, Any]]
    """A status and a sentence as the protocol's JSON; the flaws that the sentence names tell the kind."""
    statuses: Mapping[int, int]
    """Ours, where the protocol has another."""

    def status(self, ours: int) -> int:
        """The status that the protocol answers with."""
        return self.statuses.get(ours, ours)


def spoken(path: str) -> Dialect | None:
    """The dialect of an address; None where errors are problems."""
    for prefix, dialect in DIALECTS.items():
        if path == prefix or path.startswith(f"{prefix}/"):
            return dialect
    return None


def sentence(detail: str, flaws: Sequence[Flaw]) -> str:
    """What is wrong and where, in one sentence."""
    told = [f"{each.pointer}: {each.detail}" if each.pointer else each.detail for each in flaws[:TOLD]]
    if [each.detail for each in flaws] == [detail]:
        return told[0]
    rest = [f"and {len(flaws) - TOLD} more"] if len(flaws) > TOLD else []
    return f"{detail}: {'; '.join([*told, *rest])}" if told else detail


def _error(_: int, detail: str, __: Sequence[Flaw]) -> dict[str, Any]:
    return {"error": detail}


def _detail(_: int, detail: str, __: Sequence[Flaw]) -> dict[str, Any]:
    return {"detail": detail}


def _coded(status: int, detail: str, flaws: Sequence[Flaw]) -> dict[str, Any]:
    json = status != 400 or not detail.startswith("the body is not JSON")
    return {"code": _code(status, flaws) if json else "InvalidJsonFormat", "message": detail}


def _code(status: int, flaws: Sequence[Flaw]) -> str:
    """What the Anomaly Detector calls an error: by its status, or by the field at fault."""
    if status != 400 or not flaws:
        return AZURE.get(status, "BadArgument")
    field = (flaws[0].pointer or "").partition("/")[2].partition("/")[0]
    missing = flaws[0].detail == f"`{field}` is missing"
    return MISSING[field] if missing and field in MISSING else FIELDS.get(field, "BadArgument")


MISSING = {"series": "RequiredSeries", "granularity": "RequiredGranularity"}
FIELDS = {
    "series": "InvalidSeries",
    "granularity": "InvalidGranularity",
    "customInterval": "InvalidCustomInterval",
    "period": "InvalidPeriod",
    "imputeMode": "InvalidImputeMode",
    "imputeFixedValue": "InvalidImputeFixedValue",
    **dict.fromkeys(("maxAnomalyRatio", "sensitivity", "stableTrendWindow", "threshold"), "InvalidModelArgument"),
}
AZURE = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    413: "RequestEntityTooLarge",
    429: "TooManyRequests",
    500: "InternalServerError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
ERROR = Dialect(body=_error, statuses=UNFIT)
DIALECTS: dict[str, Dialect] = {
    "/v2": ERROR,
    "/hf": ERROR,
    "/translate": ERROR,
    "/languages": ERROR,
    "/compat/timegpt": Dialect(body=_detail, statuses={**UNFIT, 409: 400}),  # its client tries again after a 409
    "/compat/anomalydetector": Dialect(body=_coded, statuses=UNFIT),
}
"""Each prefix with the errors that the clients of its protocol read."""
