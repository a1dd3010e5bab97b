"""What an evaluation does: a version's loss and scores on a part of a data set. Knows torch and files; no job table."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import torch
from safetensors.torch import load_file

from app.jobs.executors import Message, Order
from app.jobs.pieces import Pieces
from models import artifact, catalog
from models.batch import Example
from models.judge import Judge, Judged
from models.monitor import Stopped, TrainingError
from models.task import AnyCodec, Part, Schema


def evaluated(
    order: Order, rows: Sequence[Any], part: Part, send: Callable[[Message], None], stop: Callable[[], str | None]
) -> dict[str, Any]:
    """`metrics`, `rows`, those of them `left_out` that give no example, `seconds`. Each batch is laid down as a line,
    so that who goes on need not judge it again.

    Raises `TrainingError` where nothing can be scored, `Fault` on rows that misfit, and `Stopped` between two batches
    when `stop` gives a reason.
    """
    began = time.monotonic()
    torch.set_num_threads(order.threads)
    judge, state = _judge(order)
    codec = judge.codec
    examples, left_out = _examples(judge, state, rows, order, part)
    known = [_read(codec, line) for piece in order.pieces for line in piece.read_bytes().splitlines()]
    if known:
        send(("resumed", {"step": len(known)}))
    elif left_out:
        text = f"{left_out} of {len(rows)} rows of the {part} part give no example and are left out"
        send(("log", {"level": "warning", "text": text}))
    steps = sum(1 for _ in judge.cut(examples))

    def judged(pieces: Pieces) -> Iterator[Judged]:
        yield from known
        for step, each in enumerate(judge.judged(examples, state, skip=len(known)), start=len(known) + 1):
            pieces.write(_written(each))
            reason = stop()
            if reason is not None or pieces.due:
                pieces.lay_down({"step": step})
                send(("progress", {"fraction": round(step / steps, 4), "step": step, "steps": steps}))
            if reason is not None:
                raise Stopped(reason)
            yield each

    with closing(Pieces(order.checkpoints, send)) as pieces:
        scores = judge.scored(examples, judged(pieces))
    metrics = {name: value for name, value in scores.items() if math.isfinite(value)}
    counted = {"rows": len(rows), "left_out": left_out}
    return {"metrics": metrics, **counted, "seconds": round(time.monotonic() - began, 2)}


def _examples(judge: Judge, state: Schema, rows: Sequence[Any], order: Order, part: Part) -> tuple[list[Example], int]:
    """The examples of a part, and the rows that give none. Raises `TrainingError` where none does."""
    of_rows = [list(judge.codec.examples(row, state, judge.config, part)) for row in rows]
    examples = [each for found in of_rows for each in found]
    if not examples:
        raise TrainingError(
            "bad-data",
            f"none of the {len(rows)} rows of the {part} part gives {order.reference} an example",
            "name another `split`, or a data set whose answers (labels, tags) the version has learnt",
        )
    return examples, sum(not found for found in of_rows)


def _judge(order: Order) -> tuple[Judge, Schema]:
    """Who judges the version of an order, and the version's state."""
    codec, network, device = catalog.codec(order.task), catalog.network(order.task), order.devices[0]
    with tempfile.TemporaryDirectory(prefix="cellgate-version-") as folder:
        found = artifact.unpack(Path(str(order.version)), Path(folder))
        net = network.build(found.state, found.config)
        net.load_state_dict(load_file(found.folder / artifact.WEIGHTS))
    return Judge(codec, network, net.to(device), found.config, device), found.state


def _written(judged: Judged) -> bytes:
    outputs = [output.model_dump(mode="json") for output in judged.outputs]
    return orjson.dumps({"loss": judged.loss, "count": judged.count, "outputs": outputs}) + b"\n"


def _read(codec: AnyCodec, line: bytes) -> Judged:
    kept = orjson.loads(line)
    outputs = [codec.card.output.model_validate(output) for output in kept["outputs"]]
    return Judged(loss=kept["loss"], count=kept["count"], outputs=outputs)
