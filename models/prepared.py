"""Rows to the examples of a training, and what is amiss with them in words. Knows the contract, no task, no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.batch import Example
from models.monitor import Monitor, TrainingError
from models.task import PARTS, AnyCodec, Config, Part, Schema


def prepared(
    codec: AnyCodec, rows: Mapping[Part, Sequence[Any]], state: Schema, config: Config, watch: Monitor
) -> dict[Part, list[Example]]:
    """The examples of each part. What makes the rows a poor teacher is told before anything is learnt.

    Raises `TrainingError` where nothing can be learnt at all.
    """
    examples: dict[Part, list[Example]] = {part: [] for part in PARTS}
    barren: dict[Part, int] = dict.fromkeys(PARTS, 0)
    for part in PARTS:
        for row in rows.get(part, ()):
            found = list(codec.examples(row, state, config, part))
            examples[part] += found
            barren[part] += not found and getattr(row, "split", None) in ({part, None} if part == "train" else {part})
    remarks = codec.remarks(rows, state, config)
    if not examples["train"]:
        many = len(rows.get("train", ()))
        detail = f"none of the {many} training rows gives an example" if many else "the training part holds no row"
        remedy = "mend the rows" if remarks else "add rows, or longer ones,"
        raise TrainingError("bad-data", "; ".join([detail, *remarks]), f"{remedy} and start a new job with them")
    for text in remarks:
        watch.log(text, "warning")
    for part, many in barren.items():
        if many:
            watch.log(f"{many} of {len(rows[part])} rows of {part} give no example and are left out", "warning")
    if not examples["validation"]:
        watch.log("no row is left for validation: the training part is scored instead, and flatters", "warning")
        examples["validation"] = examples["train"]
    return examples
