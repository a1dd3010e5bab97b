"""What a training does: rows to a finished artifact in a folder. Knows torch and files; no database, no job table."""

from __future__ import annotations

import math
import os
import tempfile
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
import torch
from safetensors.torch import save_file

from app.jobs.evaluation import evaluated
from app.jobs.executors import Message, Order
from app.jobs.prediction import predicted
from app.jobs.problems import FREE, full, problem
from models import artifact, catalog, checkpoint, vectors, warm
from models.artifact import ArtifactError
from models.checkpoint import Checkpoint, CheckpointError
from models.memory import guarded, out_of_memory
from models.monitor import EpochReport, Progress, Stopped, TrainingError
from models.runtimes import int8
from models.runtimes.export import export
from models.runtimes.run import Run
from models.task import PARTS, Config, Fault, Part
from models.team import Alone, Processes, lost
from models.trainer import Trained, train

Ask = Callable[[Message], "str | None"]


def unasked(message: Message) -> str | None:
    """The answer where nobody listens: nothing speaks against going on."""
    return None


class Reporter:
    """Tells the worker what the trainer says, and asks it what the trainer asks."""

    def __init__(
        self, send: Callable[[Message], None], stop: Callable[[], str | None], ask: Ask = unasked, every: int = 0
    ) -> None:
        self._send, self._stop, self._ask, self._every = send, stop, ask, every
        self.pruned: int | None = None
        """The epoch after which the worker had enough of it."""

    def progress(self, progress: Progress) -> None:
        self._send(("progress", progress.as_dict()))

    def epoch(self, report: EpochReport) -> None:
        self._send(("metrics", {"epoch": report.epoch, "step": report.step, "values": report.values}))

    def log(self, text: str, level: str = "info") -> None:
        self._send(("log", {"level": level, "text": text}))

    def stop(self) -> str | None:
        return self._stop()

    def enough(self, *, epoch: int, best: float) -> str | None:
        if not self._every or epoch % self._every or not math.isfinite(best):
            return None
        reason = self._ask(("enough", {"epoch": epoch, "best": best}))
        self.pruned = epoch if reason is not None else None
        return reason


class FolderKeeper:
    """Lays checkpoints down in a folder, from which the worker takes them. At most two wait there."""

    def __init__(self, order: Order, send: Callable[[Message], None]) -> None:
        self._from, self._folder, self._send = order.checkpoint, order.checkpoints, send
        self._number = 0

    def latest(self) -> Checkpoint | None:
        return None if self._from is None else checkpoint.load(self._from)

    def forget(self) -> None:
        """Begin anew: the latest is of no use."""
        self._from = None

    def resumed(self, *, epoch: int, step: int) -> None:
        self._send(("resumed", {"epoch": epoch, "step": step}))

    def keep(self, checkpoint: Checkpoint) -> None:
        self._number += 1
        path = self._folder / f"{self._number:08}.safetensors"
        checkpoint.save(path)
        facts = checkpoint.facts
        self._send(("checkpoint", {"path": str(path), "epoch": facts["epoch"], "step": facts["step"]}))


def run(
    order: Order,
    send: Callable[[Message], None],
    stop: Callable[[], str | None],
    *,
    ask: Ask = unasked,
    rank: int = 0,
) -> None:
    """Do the order; ends with one message: done, stopped or failed. Of several processes the first speaks."""
    if rank > 0:
        send = _unheard
    try:
        send(("done", _done(order, send, stop, ask, rank)))
    except Stopped as stopped:
        send(("stopped", {"reason": stopped.reason}))
    except Exception as error:
        if isinstance(error, RuntimeError) and len(order.devices) > 1 and lost(error):
            os._exit(1)  # another process died: the job is begun again as if this one had
        found = _problem(error)
        send(("failed", found))
        if found["type"] == "internal":
            os.write(2, traceback.format_exc().encode())


def _problem(error: Exception) -> dict[str, Any]:
    """The problem of what the work met."""
    if isinstance(error, TrainingError):
        return problem(error.type, error.detail, error.remedy)
    if isinstance(error, Fault):
        return problem("bad-data", error.detail, "correct the data set, post it again and start a new job")
    if isinstance(error, ArtifactError):
        detail = f"the version's files are damaged: {error}"
        return problem("damaged-version", detail, "import its artifact again, or name another version")
    if full(error):
        return problem("disk-full", "the disk is full; nothing of the job was registered", FREE)
    if out_of_memory(error):
        detail = "the memory did not hold the data set, or a batch of it"
        return problem("out-of-memory", detail, "give the worker more memory, or name a smaller data set or part")
    frame = traceback.extract_tb(error.__traceback__)[-1]
    detail = f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"
    return problem("internal", detail, "this is a fault of the service: report it with the place named here")


def _done(
    order: Order, send: Callable[[Message], None], stop: Callable[[], str | None], ask: Ask, rank: int
) -> dict[str, Any]:
    if order.kind == "predict":
        return predicted(order, send, stop)
    if order.kind == "evaluate":
        part: Part = order.part or "test"
        return evaluated(order, _rows(order)[part], part, send, stop)
    return _made(order, send, Reporter(send, stop, ask, order.looks_every), rank)


def _unheard(message: Message) -> None:
    """What another process than the first has to say."""


def _made(order: Order, send: Callable[[Message], None], reporter: Reporter, rank: int) -> dict[str, Any]:
    codec, network = catalog.codec(order.task), catalog.network(order.task)
    config = codec.card.config.model_validate(order.config)
    rows = _rows(order)
    given = vectors.read(order.vectors) if order.vectors else None
    keeper = FolderKeeper(order, send)
    start = None if order.version is None else _warm(order.version, str(order.reference))
    device, size = order.devices[rank], len(order.devices)
    team = Processes(rank=rank, size=size, meeting=order.meeting, device=device) if size > 1 else Alone()

    def learn() -> Trained:
        return train(
            codec,
            network,
            rows,
            config,
            device=device,
            threads=order.threads,
            vectors=given,
            monitor=reporter,
            max_seconds=order.max_seconds,
            keeper=keeper,
            team=team,
            warm=start,
        )

    try:
        trained = guarded(learn, config)
    except CheckpointError as error:
        reporter.log(f"{error}; the training begins anew", "warning")
        keeper.forget()
        trained = guarded(learn, config)
    team.close()
    return {} if rank > 0 else _written(order, trained, config, reporter)


def _warm(version: Path, name: str) -> warm.Warm:
    """The weights of a version's zip."""
    with tempfile.TemporaryDirectory(prefix="cellgate-version-") as folder:
        artifact.unpack(version, Path(folder))
        return warm.read(Path(folder), name)


def _written(order: Order, trained: Trained, config: Config, reporter: Reporter) -> dict[str, Any]:
    codec, network = catalog.codec(order.task), catalog.network(order.task)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in trained.net.state_dict().items()}
    save_file(weights, order.folder / artifact.WEIGHTS)
    found = sorted(trained.examples["validation"][:64], key=lambda example: example.length)
    chosen = found[::9] or found
    ragged = [codec.collate(chosen), codec.collate(found[:1]), codec.collate(found[-1:])]
    params, stream = codec.card.params(), catalog.stream(order.task)

    def ask(run: Run) -> None:
        for batch in ragged:
            codec.predict(run, batch, params, trained.state)
        if stream is not None and stream.refusal(trained.state, config) is None:
            stream.rehearse(run, chosen, trained.state, config)

    reason = export(network, trained.net, ask, order.folder)
    if reason is not None:
        reporter.log(f"served by torch: {reason}", "warning")
    metrics = dict(trained.metrics)
    if config.quantize and reason is None:
        verdict = int8.settle(codec, order.folder, trained.examples["validation"], trained.state)
        reporter.log(f"weights in 8 bits are {'kept' if verdict.kept else 'not kept'}: {verdict.reason}")
        metrics |= verdict.metrics
    artifact.write(
        order.folder,
        task=order.task,
        state=trained.state,
        config=config,
        metrics=metrics,
        parameters=trained.parameters,
        code_version=version("cellgate"),
        created_at=datetime.now(UTC).isoformat(),
        dataset=order.dataset,
        job=order.job,
    )
    packed = order.folder.with_suffix(".zip")
    digest = artifact.pack(order.folder, packed)
    done = {"zip": str(packed), "digest": digest, "metrics": metrics, "seconds": round(trained.seconds, 2)}
    done["ended"] = trained.ended
    return done | (_trial(order, trained, reporter) if order.looks_every else {})


def _trial(order: Order, trained: Trained, reporter: Reporter) -> dict[str, Any]:
    """What the other trials of a study are held against: scores of the validation part, epoch by epoch."""
    metric = catalog.card(order.task).metric
    name = "validation_loss" if metric == "loss" else metric
    looked = [report for report in trained.history if report.epoch and report.epoch % order.looks_every == 0]
    by_epoch = {str(report.epoch): report.values[name] for report in looked if math.isfinite(report.values[name])}
    return {"by_epoch": by_epoch, "pruned": reporter.pruned}


def _rows(order: Order) -> dict[Part, list[Any]]:
    """The rows of each part; a row without a part belongs to all of them."""
    shape = catalog.card(order.task).row
    rows: dict[Part, list[Any]] = {part: [] for part in PARTS}
    with order.rows.open("rb") as file:
        for line in file:
            record = orjson.loads(line)
            named = record["part"]
            row = shape.model_validate(record["row"] | ({} if named is None else {"split": named}))
            for part in PARTS if named is None else (named,):
                rows[part].append(row)
    return rows


torch.set_num_threads(1)
