"""Why jobs fail: each kind has its place on the page, its sentence and its remedy."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

from app.errors import Away, Conflict, Invalid, NotFound
from app.jobs.problems import TITLES, may_pass, of_worker

PAGE = Path(__file__).parents[3] / "docs" / "problems.md"


def test_the_page_has_every_kind_and_no_other() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("A job that failed")[2]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE) == ["type", *sorted(TITLES)]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NotFound("no data set 'x'"), "gone"),
        (Conflict("the model 'x' is for ner, not melody"), "refused"),
        (Invalid("config.processes: 2 GPUs are wanted, there is 1"), "bad-data"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk-full"),
        (ConnectionResetError("by peer"), "storage-away"),
        (Away("the blob store cannot be used now", retry_after=10), "storage-away"),
        (MemoryError(), "out-of-memory"),
        (ZeroDivisionError("/home/someone/secret"), "internal"),
    ],
)
def test_what_a_worker_meets_has_a_kind_a_sentence_and_a_remedy(error: Exception, kind: str) -> None:
    found = of_worker(error)
    assert found["type"] == kind
    assert found["detail"]
    assert found["remedy"]
    assert "secret" not in found["detail"]
    assert may_pass(found) == (kind == "storage-away")
