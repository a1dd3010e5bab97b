"""What an evaluation does: a version's loss and scores on a part of a data set. Knows torch and files; no job table."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from app.jobs.executors import Order
from models import artifact, catalog
from models.judge import Judge
from models.monitor import Stopped, TrainingError
from models.task import Part


def evaluated(order: Order, rows: Sequence[Any], part: Part, stop: Callable[[], str | None]) -> dict[str, Any]:
    """`metrics`, `rows`, `seconds`. Raises `TrainingError` where nothing can be scored, `Fault` on rows that misfit,
    and `Stopped` between two batches when `stop` gives a reason."""

    def go_on() -> None:
        reason = stop()
        if reason is not None:
            raise Stopped(reason)

    began = time.monotonic()
    torch.set_num_threads(order.threads)
    codec, network, device = catalog.codec(order.task), catalog.network(order.task), order.devices[0]
    with tempfile.TemporaryDirectory(prefix="cellgate-version-") as folder:
        found = artifact.unpack(Path(str(order.version)), Path(folder))
        net = network.build(found.state, found.config)
        net.load_state_dict(load_file(found.folder / artifact.WEIGHTS))
    examples = [each for row in rows for each in codec.examples(row, found.state, found.config, part)]
    if not examples:
        raise TrainingError(
            "bad-data", f"the {part} part gives {order.reference} no example", "name another `split`, or add rows"
        )
    scores = Judge(codec, network, net.to(device), found.config, device).evaluate(
        examples, found.state, before_each=go_on
    )
    metrics = {name: value for name, value in scores.items() if math.isfinite(value)}
    return {"metrics": metrics, "rows": len(rows), "seconds": round(time.monotonic() - began, 2)}
