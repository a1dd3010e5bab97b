"""What a worker with nothing but a CPU offers, for the tests that claim jobs."""

from __future__ import annotations

from app.db.repositories.jobs import Offer


def on_cpu() -> list[Offer]:
    return [Offer(device="cpu", kind="cpu", memory=2**40, general=True)]
