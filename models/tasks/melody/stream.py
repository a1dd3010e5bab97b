"""A melody step by step: how surprising each step is after those before it, and what may come next. NumPy only.

T steps, H units, S numbers of the encoder's state.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.batch import Example
from models.runtimes.run import Run
from models.stream import Answer, Sent, Stream, read_on
from models.task import Fault
from models.tasks.melody.schema import Item, MelodyConfig, Note, State, Step, StepOutput, StepParams
from models.tasks.melody.voices import voice


class MelodyStream(Stream[State, StepParams, MelodyConfig]):
    """Kept are the encoder's `state` (S,) and what it last said, `hidden` (H,)."""

    def example(self, sent: Sent, state: State, config: MelodyConfig) -> Example:
        arrays = voice(state).read(_melody(sent.steps, state))
        if sent.memory:  # what stands before the first step has been read
            arrays = {name: array[1:] for name, array in arrays.items()}
        return Example(arrays=arrays, length=len(sent.steps), context=sent.memory)

    def advance(self, run: Run, examples: Sequence[Example], params: StepParams, state: State) -> list[Answer]:
        music = voice(state)
        memories = [example.context for example in examples]
        told, states = read_on(run, "step", [example.arrays for example in examples], memories)
        heard = [
            np.concatenate([memory["hidden"][None], each["hidden"]]) if memory else each["hidden"]
            for each, memory in zip(told, memories, strict=True)
        ]
        said = {name: np.concatenate([e.arrays[name][-e.length :] for e in examples]) for name in examples[0].arrays}
        losses = music.losses(run, np.concatenate([hidden[:-1] for hidden in heard]), said)
        following = music.likeliest(run, np.concatenate([hidden[1:] for hidden in heard]), params.likeliest)
        outputs = iter(StepOutput(nll=float(loss), next=likely) for loss, likely in zip(losses, following, strict=True))
        return [
            ([next(outputs) for _ in range(example.length)], {"state": after, "hidden": hidden[-1]})
            for example, after, hidden in zip(examples, states, heard, strict=True)
        ]


def _melody(steps: Sequence[Step], state: State) -> Item:
    """Steps as a melody of the model's form. Raises `Fault` at one of the other."""
    monophonic = state.form == "monophonic"
    for index, step in enumerate(steps):
        if monophonic and step.keys is not None:
            raise Fault("this model is monophonic: its steps are notes, not chords", at=(index, "keys"))
        if not monophonic and step.keys is None:
            raise Fault("this model is polyphonic: its steps are chords, not notes", at=(index, "pitch"))
    if monophonic:
        notes = [Note.model_construct(pitch=step.pitch, duration=step.duration) for step in steps]
        return Item.model_construct(notes=notes, steps=None)
    return Item.model_construct(notes=None, steps=[step.keys or [] for step in steps])


STREAM = MelodyStream()
