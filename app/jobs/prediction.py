"""What a bulk prediction does: rows of a data set to lines of answers. Knows files and the predictor; no job table.

Answers lie in the order of the rows, and are the same bytes wherever the work was interrupted: rows are answered in
chunks that depend on the file alone, and a checkpoint lies between two chunks.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from pydantic import ValidationError

from app.jobs.executors import Message, Order
from app.jobs.pieces import Pieces
from models import artifact, predictor
from models.batch import Example, batches
from models.monitor import Stopped, TrainingError
from models.predictor import Predictor
from models.task import Fault, Params

CHUNK_ROWS, CHUNK_BYTES = 512, 4 * 1024 * 1024
"""Rows that are in memory at a time: so many, or so many bytes of them."""
STEPS = 4096
"""Padded steps of a batch at most."""
TOLD_EVERY = 0.5
"""Seconds between two reports of progress."""
NAMED = 5
"""Rows without an answer that the log tells of, each with its sentence."""


@dataclass(kw_only=True)
class Place:
    """Where the work stands: what lies before it is done."""

    row: int = 0
    """Rows of the file that were passed, those of other parts among them."""
    offset: int = 0
    """Bytes of the file that were read."""
    answered: int = 0
    """Lines that were written."""
    failed: int = 0
    """Those of them that hold an error."""


@dataclass(kw_only=True)
class _Chunk:
    """Rows that stand together in the file."""

    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Those that are asked, by their number in the file."""
    passed: int = 0
    read: int = 0


def predicted(order: Order, send: Callable[[Message], None], stop: Callable[[], str | None]) -> dict[str, Any]:
    """Answer the rows of the order; the answers go out as pieces. Returns `rows`, `failed`, `seconds`.

    Raises `TrainingError` where the params do not fit the version, and `Stopped` when `stop` gives a reason.
    """
    began, place = time.monotonic(), Place(**order.place)
    if order.place:
        send(("resumed", {"row": place.row}))
    with (
        tempfile.TemporaryDirectory(prefix="cellgate-version-") as folder,
        order.rows.open("rb") as file,
        closing(Pieces(order.checkpoints, send)) as pieces,
    ):
        found = artifact.unpack(Path(str(order.version)), Path(folder))
        held = predictor.load(found, threads=order.threads, device=order.devices[0])
        params = held.codec.card.params.model_validate(order.params)
        told = _Told(send, place, size=order.rows.stat().st_size, total=order.total)
        try:
            for chunk in _chunks(file, place, order.part):
                for number, said in _answers(held, chunk.rows, params, stop):
                    told.failures(number, said)
                    pieces.write(orjson.dumps({"row": number, **said}) + b"\n")
                place.row, place.offset = place.row + chunk.passed, place.offset + chunk.read
                place.answered += len(chunk.rows)
                told.progress()
                if pieces.due:
                    pieces.lay_down(asdict(place))
            pieces.lay_down(asdict(place))
            told.progress(every=0.0)
        except Stopped:
            pieces.lay_down(asdict(place))
            raise
        finally:
            held.close()
    return {"rows": place.answered, "failed": place.failed, "seconds": round(time.monotonic() - began, 2)}


def _chunks(file: BinaryIO, place: Place, part: str | None) -> Iterator[_Chunk]:
    """The rest of the file from a place on; rows without a part belong to every part."""
    file.seek(place.offset)
    chunk, number = _Chunk(), place.row
    for line in file:
        record = orjson.loads(line)
        if part is None or record["part"] in (None, part):
            chunk.rows[number] = record["row"]
        number, chunk.passed, chunk.read = number + 1, chunk.passed + 1, chunk.read + len(line)
        if chunk.passed == CHUNK_ROWS or chunk.read >= CHUNK_BYTES:
            yield chunk
            chunk = _Chunk()
    if chunk.passed:
        yield chunk


def _answers(
    held: Predictor, rows: Mapping[int, Mapping[str, Any]], params: Params, stop: Callable[[], str | None]
) -> list[tuple[int, dict[str, Any]]]:
    """`output` or `error` of each row, in order. Raises `Stopped` between two batches."""
    said: dict[int, dict[str, Any]] = {}
    examples: dict[int, Example] = {}
    card = held.codec.card
    for number, row in rows.items():
        try:
            examples[number] = held.prepare(card.parse_item(card.asked(row)), params)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            said[number] = {"error": _placed(first["msg"], first["loc"])}
        except Fault as fault:
            said[number] = {"error": _refused(fault)}
    numbers = list(examples)
    for chosen in batches([examples[number].length for number in numbers], steps=STEPS):
        reason = stop()
        if reason is not None:
            raise Stopped(reason)
        said |= _together(held, {numbers[index]: examples[numbers[index]] for index in chosen}, params)
    return [(number, said[number]) for number in rows]


def _together(held: Predictor, examples: Mapping[int, Example], params: Params) -> dict[int, dict[str, Any]]:
    """The answers to a batch; where that fails, to each alone: what is wrong with one is no fault of its company."""
    try:
        outputs = held.answer(list(examples.values()), params)
    except Exception as error:
        if len(examples) > 1:
            alone = [_together(held, {number: example}, params) for number, example in examples.items()]
            return {number: said for each in alone for number, said in each.items()}
        (number,) = examples
        if isinstance(error, Fault):
            return {number: {"error": _refused(error)}}
        if isinstance(error, MemoryError | OSError):
            raise
        return {number: {"error": f"the model could not answer this row: {type(error).__name__}"}}
    dumped = (output.model_dump(mode="json") for output in outputs)
    return {number: {"output": output} for number, output in zip(examples, dumped, strict=True)}


def _refused(fault: Fault) -> str:
    """What is wrong with an item. Raises `TrainingError` where it is wrong with them all."""
    if fault.of == "params":
        detail = f"the params do not fit the version: {_placed(fault.detail, fault.at)}"
        raise TrainingError("bad-params", detail, "start a new job with other `params`, or with another version")
    return _placed(fault.detail, fault.at)


def _placed(detail: str, at: tuple[str | int, ...]) -> str:
    """A sentence, with the place inside the item that it speaks of."""
    place = ".".join(str(step)[:80] for step in at)
    return f"{place}: {detail}"[:1000] if place else detail[:1000]


class _Told:
    """What the job says while it works: how far it is, how fast, and the first rows without an answer."""

    def __init__(self, send: Callable[[Message], None], place: Place, *, size: int, total: int) -> None:
        self._send, self._place, self._size, self._total = send, place, size, total
        self._from, self._began, self._last = Place(**asdict(place)), time.monotonic(), 0.0

    def failures(self, number: int, said: Mapping[str, Any]) -> None:
        if "error" not in said:
            return
        self._place.failed += 1
        if self._place.failed <= NAMED:
            self._send(("log", {"level": "warning", "text": f"row {number} has no answer: {said['error']}"}))
        if self._place.failed == NAMED:
            text = "further rows without an answer are told of in the result alone, where they have an `error`"
            self._send(("log", {"level": "warning", "text": text}))

    def progress(self, *, every: float = TOLD_EVERY) -> None:
        now, place = time.monotonic(), self._place
        if now - self._last < every:
            return
        self._last, spent = now, max(1e-6, now - self._began)
        left = (self._size - place.offset) / max(1, place.offset - self._from.offset)
        data = {
            "fraction": round(place.offset / max(1, self._size), 4),
            "row": place.answered,
            "rows": self._total,
            "failed": place.failed,
            "rows_per_second": round((place.answered - self._from.answered) / spent, 1),
            "eta_seconds": round(left * spent, 1),
        }
        self._send(("progress", data))
