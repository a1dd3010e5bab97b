"""A sequence step by step: after each, the label of the sequence so far. NumPy only.

Pooling over time is carried as running sums and maxima, so that one step costs the same however long the sequence is.

T steps, F features, H units, P width of what the label is read from, S numbers of a state, C labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.batch import Example
from models.families.classify.codec import features
from models.families.classify.schema import said
from models.runtimes.run import Run
from models.schemas import LabelParams
from models.stream import Answer, Memory, Sent, Stream, read_on
from models.task import Fault
from models.tasks.sequences.codec import CODEC
from models.tasks.sequences.schema import SequenceConfig, State, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What stands beside an example's arrays."""

    memory: Memory
    pooling: str
    read: int
    """Steps that are read: those up to the model's `max_steps`; none after them changes the label."""
    last: np.ndarray | None
    """(F,) the numbers of the last step, where changes are read."""
    full: bool
    """Whether no later step will be read."""


class SequenceStream(Stream[State, LabelParams, SequenceConfig]):
    """Kept are the network's `state` (S,), how many steps came, `count`, the numbers of the last, `before` (F,), and
    what pooling needs of all; once `max_steps` were read, what they were `pooled` to (P,) alone."""

    functions = ("start", "advance", "label")

    def example(self, sent: Sent, state: State, config: SequenceConfig) -> Example:
        for index, step in enumerate(sent.steps):
            _check(step, index, state)
        count = int(sent.memory.get("count", 0))
        steps = sent.steps[: max(0, config.max_steps - count)]
        last, arrays = None, {}
        if steps and state.scale is None:
            arrays["tokens"] = np.array(state.index.ids([str(step.token) for step in steps]), dtype=np.int64)
        elif steps:
            values = np.stack([step.numbers for step in steps])
            last = values[-1] if config.motion != "none" else None
            before = sent.memory["before"][None] if "before" in sent.memory else values[:0]
            read = features(np.concatenate([before, values]), config.motion)[len(before) :]
            arrays["values"] = state.scale.apply(read) if state.scale is not None else read
        context = Context(
            memory=sent.memory,
            pooling=config.pooling,
            read=len(steps),
            last=last,
            full=count + len(steps) >= config.max_steps,
        )
        return Example(arrays=arrays, length=len(sent.steps), context=context)

    def advance(self, run: Run, examples: Sequence[Example], params: LabelParams, state: State) -> list[Answer]:
        reading = [example for example in examples if example.context.read]
        pooled = iter(_pooled(run, reading))
        found = []
        for example in examples:
            context: Context = example.context
            parts, memory = next(pooled) if context.read else (context.memory["pooled"][None], context.memory)
            late = np.repeat(parts[-1:], example.length - context.read, axis=0)
            found.append((np.concatenate([parts[: context.read], late]), memory))
        logits = run("label", {"pooled": np.concatenate([each for each, _ in found])})["logits"]
        outputs = iter(CODEC.told(logits.astype(np.float64), params, state))
        return [
            ([next(outputs) for _ in range(example.length)], memory)
            for example, (_, memory) in zip(examples, found, strict=True)
        ]

    def rehearse(self, run: Run, examples: Sequence[Example], state: State, config: SequenceConfig) -> None:
        """Each example in two parts, the second from where the first stopped."""
        memories: list[Memory] = [{} for _ in examples]
        for part in (0, 1):
            sent = {}
            for index, example in enumerate(examples):
                middle = -(-example.length // 2)
                arrays = {
                    name: array[middle:] if part else array[:middle]
                    for name, array in example.arrays.items()
                    if name != "label"
                }
                size = example.length - middle if part else middle
                context = Context(memory=memories[index], pooling=config.pooling, read=size, last=None, full=False)
                if size:
                    sent[index] = Example(arrays=arrays, length=size, context=context)
            answers = self.advance(run, list(sent.values()), LabelParams(top_k=None), state) if sent else []
            for index, (_, memory) in zip(sent, answers, strict=True):
                memories[index] = memory


def _check(step: Step, index: int, state: State) -> None:
    """Raises `Fault` at a step of another kind or width."""
    if step.kind != state.kind:
        sentence = f"this model was taught with `{state.kind}` and cannot read `{step.kind}`"
        raise Fault(sentence, at=(index, step.field))
    if state.scale is not None and len(step.numbers) != state.width:
        sentence = f"{said(len(step.numbers))} where this model was taught {said(state.width)}"
        raise Fault(sentence, at=(index, step.field))


def _pooled(run: Run, examples: Sequence[Example]) -> list[tuple[np.ndarray, Memory]]:
    """What the label is read from after each step (T, P), and what is kept, of each example."""
    if not examples:
        return []
    memories = [example.context.memory for example in examples]
    told, states = read_on(run, "advance", [example.arrays for example in examples], memories)
    found: list[tuple[np.ndarray, Memory]] = []
    for each, after, example in zip(told, states, examples, strict=True):
        context: Context = example.context
        count = int(context.memory.get("count", 0)) + np.arange(1, example.length + 1)[: context.read]
        pooled, kept = POOLINGS[context.pooling](each, count, context.memory)
        memory = {"pooled": pooled[-1]} if context.full else {"state": after, **kept}
        if context.last is not None and not context.full:
            memory["before"] = context.last
        found.append((pooled, {**memory, "count": count[-1]}))
    return found


Told = Mapping[str, np.ndarray]
Pooled = tuple[np.ndarray, dict[str, np.ndarray]]


def _last(told: Told, count: np.ndarray, memory: Memory) -> Pooled:
    return told["steps"], {}


def _mean_max(told: Told, count: np.ndarray, memory: Memory) -> Pooled:
    steps = told["steps"]
    before = memory["greatest"][None] if "greatest" in memory else steps[:0]
    greatest = np.maximum.accumulate(np.concatenate([before, steps]))[len(before) :]
    sums = memory.get("sum", 0.0) + np.cumsum(steps, axis=0, dtype=np.float64)
    pooled = np.concatenate([greatest, sums / count[:, None]], axis=1).astype(np.float32)
    return pooled, {"greatest": greatest[-1], "sum": sums[-1]}


def _attention(told: Told, count: np.ndarray, memory: Memory) -> Pooled:
    """Shares of attention are held relative to the greatest so far, `peak`: none overflows, and none is lost."""
    steps, due = told["steps"].astype(np.float64), told["attention"].astype(np.float64)
    peak, weight = memory.get("peak", np.array(-np.inf)), memory.get("weight", np.array(0.0))
    total = memory.get("sum", np.zeros(steps.shape[1]))
    pooled = np.empty_like(told["steps"])
    for index, step in enumerate(steps):
        before, peak = peak, np.maximum(peak, due[index])
        kept, share = np.exp(before - peak), np.exp(due[index] - peak)
        weight, total = kept * weight + share, kept * total + share * step
        pooled[index] = total / weight
    return pooled, {"peak": peak, "weight": weight, "sum": total}


POOLINGS: dict[str, Callable[[Told, np.ndarray, Memory], Pooled]] = {
    "last": _last,
    "mean_max": _mean_max,
    "attention": _attention,
}
"""As `models.nets.pooling`, step by step: (T, P) after each step, and what to carry."""

STREAM = SequenceStream()
