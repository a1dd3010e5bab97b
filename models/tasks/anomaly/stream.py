"""A series judged step by step: the scores of the whole series so far, from sums that decay. NumPy only.

T steps, R steps before them whose forecasts still matter, F numbers of a step, K horizons, S numbers of a state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.batch import Example
from models.runtimes.run import Run
from models.stream import Answer, Memory, Sent, Stream, read_on
from models.task import Fault
from models.tasks.anomaly.codec import Found, found
from models.tasks.anomaly.detectors import PREDICTOR
from models.tasks.anomaly.prepare import Past, Series, least_spread, prepare
from models.tasks.anomaly.schema import AnomalyConfig, AnomalyParams, State, Step, StepOutput

OWN = ("state", "count", "timed", "event")
"""What is kept beside the `Past`: the network's state, how many steps came, whether they had times, and where the
last alarm began and was last raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What gives an example's arrays their meaning back."""

    series: Series
    past: Past
    memory: Memory
    begun: np.ndarray
    """(T, F) whether a number of the feature has come by then."""
    flat: list[bool]
    """Whether each step is one number, not a list."""
    timed: bool


class AnomalyStream(Stream[State, AnomalyParams, AnomalyConfig]):
    """For predictors alone: an autoencoder judges a step by windows that reach beyond it."""

    def refusal(self, state: State, config: AnomalyConfig) -> str | None:
        if state.detector == "autoencoder":
            return "an autoencoder judges a step by windows that reach beyond it; train with `detector` = `predictor`"
        return super().refusal(state, config)

    def example(self, sent: Sent, state: State, config: AnomalyConfig) -> Example:
        values, timed = _values(sent.steps, state), _timed(sent)
        times = [step.timestamp for step in sent.steps] if timed else None
        past = Past({name: array for name, array in sent.memory.items() if name not in OWN})
        seen = past.held.get("seen", 0) + np.cumsum(~np.isnan(values), axis=0)
        series = prepare(values, times, memory=state.memory, location=state.location, scale=state.scale, past=past)
        if state.location is None and sent.memory:
            _begin(past, sent.memory["seen"] == 0)
        context = Context(
            series=series,
            past=past,
            memory=sent.memory,
            begun=seen > 0 if state.location is None else np.ones(values.shape, dtype=bool),
            flat=[step.values is None for step in sent.steps],
            timed=timed,
        )
        return Example(arrays=PREDICTOR.arrays(series, state, None), length=len(values), context=context)

    def advance(self, run: Run, examples: Sequence[Example], params: AnomalyParams, state: State) -> list[Answer]:
        memories = [example.context.memory for example in examples]
        told, states = read_on(run, "forward", [example.arrays for example in examples], memories)
        answers: list[Answer] = []
        for each, after, example in zip(told, states, examples, strict=True):
            context: Context = example.context
            past = Past(context.past.held)  # a batch that fails is answered again, one by one
            count = int(context.memory.get("count", 0))
            said = each["quantiles"].reshape(example.length, len(state.ahead), state.width, 3)
            judged = PREDICTOR.judged(said, context.series, state, past)
            come = found(judged, params, state, past=past, after=count)
            events, event = _events(come.flags, count, context.memory, merge=params.merge)
            outputs = [_output(come, index, context, events[index]) for index in range(example.length)]
            own = {
                "state": after,
                "count": np.array(count + example.length),
                "timed": np.array(context.timed),
                "event": event,
            }
            answers.append((outputs, {**past.held, **own}))
        return answers


def _values(steps: Sequence[Step], state: State) -> np.ndarray:
    """(T, F). Raises `Fault` at a step of another width."""
    for index, step in enumerate(steps):
        width = len(step.numbers)
        if width != state.width:
            at = (index, "value" if step.values is None else "values")
            raise Fault(f"{width} numbers in a step; this model reads {state.width}", at=at)
    return np.stack([step.numbers for step in steps])


def _timed(sent: Sent) -> bool:
    """Whether the steps have times: all that ever came, or none. Raises `Fault`."""
    timed = bool(sent.memory["timed"]) if sent.memory else sent.steps[0].timestamp is not None
    for index, step in enumerate(sent.steps):
        if (step.timestamp is not None) != timed:
            told = "the steps before have timestamps" if timed else "the steps before have no timestamps"
            raise Fault(f"{told}: either all of a series have, or none", at=(index, "timestamp"))
    return timed


def _begin(past: Past, unseen: np.ndarray) -> None:
    """Forecasts that were made before the first number of a feature are levelled by it, as in a whole series."""
    first = past.held["first"]
    past.held["location"] = np.where(unseen, first, past.held["location"])
    past.held["scale"] = np.where(unseen, least_spread(first), past.held["scale"])


def _events(flags: np.ndarray, count: int, memory: Memory, *, merge: int) -> tuple[list[int | None], np.ndarray]:
    """Where the alarm of each flagged step began, and (where the last one began, where it was last raised)."""
    start, last = memory["event"].tolist() if memory else (0, -merge - 2)
    begun: list[int | None] = []
    for step, flag in enumerate(flags.tolist(), count):
        if flag:
            start = step if step - last > merge + 1 else start
            last = step
        begun.append(start if flag else None)
    return begun, np.array([start, last])


def _output(come: Found, index: int, context: Context, event: int | None) -> StepOutput:
    traces = []
    for trace in come.traces:
        numbers = [v if known else None for v, known in zip(trace[index].tolist(), context.begun[index], strict=True)]
        traces.append(numbers[0] if context.flat[index] else numbers)
    expected, lower, upper = traces
    return StepOutput(
        score=float(come.scores[index]),
        is_anomaly=bool(come.flags[index]),
        event=event,
        threshold=come.threshold,
        expected=expected,
        lower=lower,
        upper=upper,
    )


STREAM = AnomalyStream()
