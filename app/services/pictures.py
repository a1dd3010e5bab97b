"""Draws the history of a training. Knows epochs and their values, no HTTP; loads matplotlib when it first draws."""

from __future__ import annotations

import importlib
import io
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.errors import Conflict, Full
from app.services.jobs import EventView, Jobs
from models import catalog

Format = Literal["png", "svg"]

TRAIN, VALIDATION = "#0072B2", "#D55E00"
"""Blue and vermilion of Okabe and Ito 2008, which the colour-blind tell apart; in grey the dashes do."""
INK, FAINT = "#222222", "#d9d9d9"
POINTS = 1000
"""Epochs drawn at most; a longer history is thinned."""
FEW = 40
"""Epochs up to which each is marked by a dot."""
IN_LINE = 4
"""Pictures being drawn or waited for at once; one more is told to come again."""
WIDE = 50.0
"""A loss that falls by such a factor is drawn on a logarithmic axis."""

History = list[tuple[int, Mapping[str, float]]]
"""Epochs in order, with what each measured."""


@dataclass(frozen=True, kw_only=True)
class Curves:
    """What a picture shows."""

    title: str
    metric: str
    higher_is_better: bool
    history: History


class Pictures:
    """Pictures of jobs, drawn one at a time: matplotlib is not made for threads."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self._line, self._drawing = threading.BoundedSemaphore(IN_LINE), threading.Lock()

    def history(self, id: str, form: Format) -> bytes:  # noqa: A002
        """The curves of a job. Raises `NotFound`, `Conflict` where there is nothing to draw, `Full`."""
        job = self.jobs.get(id)
        if job.children:
            raise Conflict(f"the job learns in its children; ask for the picture of one, such as {job.children[0].id}")
        history = epochs(self.jobs.events(id, kinds=["metrics"], limit=100_000))
        if not history or job.task is None:
            raise Conflict(f"the job is {job.state} and no epoch has ended yet: there is nothing to draw")
        card = catalog.card(job.task)
        title = f"{job.request['model']} · {job.task} · {id}"
        curves = Curves(title=title, metric=card.metric, higher_is_better=card.higher_is_better, history=history)
        if not self._line.acquire(blocking=False):
            raise Full(f"{IN_LINE} pictures are being drawn already", retry_after=2)
        try:
            with self._drawing:
                return draw(curves, form)
        finally:
            self._line.release()


def epochs(events: Sequence[EventView]) -> History:
    """The epochs of the last attempt, in order: an epoch that was begun again takes those after it along."""
    found: History = []
    for event in events:
        while found and found[-1][0] >= event.data["epoch"]:
            found.pop()
        found.append((event.data["epoch"], event.data["values"]))
    return found


def draw(curves: Curves, form: Format) -> bytes:
    """Two panels over the epochs, as the bytes of a file: the loss, and the card's metric where it is another."""
    matplotlib = importlib.import_module("matplotlib")
    figures = importlib.import_module("matplotlib.figure")
    style = {"font.size": 10, "svg.hashsalt": "cellgate", "svg.fonttype": "path", "axes.unicode_minus": False}
    named = [("loss", "train_loss", "validation_loss")]
    if curves.metric != "loss":
        named.append((curves.metric, f"train_{curves.metric}", curves.metric))
    with matplotlib.rc_context(style):
        figure = figures.Figure(figsize=(4.8 * len(named), 3.9), dpi=130, layout="constrained", facecolor="white")
        figure.suptitle(curves.title, fontsize=10, color="#666666")
        panels = figure.subplots(1, len(named), squeeze=False)[0]
        for axes, (name, train, validation) in zip(panels, named, strict=True):
            _panel(axes, curves, name=name, lines={"train": train, "validation": validation})
        sink = io.BytesIO()
        figure.savefig(sink, format=form, metadata={"Date": None} if form == "svg" else None)
    return sink.getvalue()


def _panel(axes: Any, curves: Curves, *, name: str, lines: Mapping[str, str]) -> None:
    seen: list[float] = []
    for (label, key), colour, dash in zip(lines.items(), (TRAIN, VALIDATION), ("--", "-"), strict=True):
        points = [(epoch, values[key]) for epoch, values in curves.history if math.isfinite(values.get(key, math.nan))]
        if points:
            xs, ys = zip(*_thinned(points), strict=True)
            seen += ys
            few = len(points) <= FEW
            mark, width = ("o", 1.8) if few else (None, 1.3)
            axes.plot(xs, ys, dash, color=colour, label=label, linewidth=width, marker=mark, markersize=3.5)
    _ring(axes, curves, lines["validation"])
    better = "lower" if name == "loss" or not curves.higher_is_better else "higher"
    axes.set_title(f"{name}, {better} is better", fontsize=11, color=INK, loc="left")
    axes.set_xlabel("epoch", color=INK)
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    if len(curves.history) <= FEW:
        axes.set_xlim(curves.history[0][0] - 0.5, curves.history[-1][0] + 0.5)
    axes.grid(color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if name == "loss" and seen and min(seen) > 0 and max(seen) / min(seen) > WIDE:
        axes.set_yscale("log")
    if seen:
        axes.legend(frameon=False, loc="best")


def _ring(axes: Any, curves: Curves, key: str) -> None:
    """A ring around the epoch whose weights were kept; its value stands in the legend, in no line's way."""
    best = _best(curves)
    value = dict(curves.history)[best].get(key) if best is not None else None
    if value is not None and math.isfinite(value):
        ring = {"color": INK, "markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.4, "zorder": 3}
        axes.plot([best], [value], "o", label=f"kept: epoch {best}, {value:.4g}", **ring)


def _best(curves: Curves) -> int | None:
    """The epoch whose weights were kept: the best metric, a tie broken by the loss, the earlier of equals."""
    sign = 1 if curves.higher_is_better else -1
    scored = [
        (sign * values.get(curves.metric, values["validation_loss"]), -values["validation_loss"], -epoch)
        for epoch, values in curves.history
        if "validation_loss" in values
    ]
    return -int(max(scored)[2]) if scored else None


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most about `POINTS` of them, first and last among them."""
    step = -(-len(points) // POINTS)
    return [*points[:-1:step], points[-1]]
