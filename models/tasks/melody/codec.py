"""Melodies to arrays, and arrays to their likelihood and their continuation. NumPy only.

B melodies, T steps (padded), H units, S numbers of the encoder's state.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from models.batch import Batch, Example, pad
from models.runtimes.run import Run
from models.task import Codec, Part, Vectors
from models.tasks.melody.pitches import HIGHEST, HIGHEST_KEY, LOWEST_KEY
from models.tasks.melody.sampling import Sampler
from models.tasks.melody.schema import (
    CARD,
    MOST_DURATIONS,
    Item,
    MelodyConfig,
    MelodyParams,
    Output,
    Row,
    State,
)
from models.tasks.melody.voices import Voice, voice

STRETCH = 1024
"""Steps read by one call at most: bounds memory, whatever the length of a melody."""
SEEDS = 2**31


class MelodyCodec(Codec[Row, Item, Output, State, MelodyParams, MelodyConfig]):
    """Steps, with what stood before the first; a likelihood and a continuation back."""

    card = CARD

    def learn(self, rows: Sequence[Row], config: MelodyConfig, vectors: Vectors | None = None) -> State:
        polyphonic = any(row.form == "polyphonic" for row in rows)
        notes = [note for row in rows for note in row.notes or ()]
        heard = Counter(note.pitch for note in notes if note.pitch is not None)
        for keys in (keys for row in rows for keys in row.steps or ()):
            heard.update(set(keys))
        lowest, highest = (LOWEST_KEY, HIGHEST_KEY) if polyphonic else (0, HIGHEST)
        shifts = range(-config.transpose, config.transpose + 1)
        shares = {
            pitch: sum(heard[pitch - shift] for shift in shifts) / (len(shifts) * sum(row.size for row in rows))
            for pitch in range(lowest, highest + 1)
        }
        durations = Counter(note.duration for note in notes).most_common(MOST_DURATIONS)
        return State(
            form="polyphonic" if polyphonic else "monophonic",
            pitches=[pitch for pitch, share in shares.items() if share],
            shares=[share for share in shares.values() if share],
            durations=sorted(duration for duration, _ in durations),
            rests=any(note.pitch is None for note in notes),
            step=next((row.step for row in rows if row.steps is not None), 1.0),
            chords=config.chords,
        )

    def examples(self, row: Row, state: State, config: MelodyConfig, part: Part) -> Iterator[Example]:
        arrays = voice(state).read(row)
        for start in range(0, row.size, config.window):
            cut = {name: array[start : start + config.window + 1] for name, array in arrays.items()}
            size = min(config.window, row.size - start)
            yield Example(arrays=cut, length=size, answer=size, context=config.seed)

    def example(self, item: Item, params: MelodyParams, state: State, config: MelodyConfig) -> Example:
        seed = secrets.randbelow(SEEDS) if params.seed is None else params.seed
        return Example(arrays=voice(state).read(item), length=item.size + params.length, context=seed)

    def collate(self, examples: Sequence[Example]) -> Batch:
        arrays = {name: pad([example.arrays[name] for example in examples]) for name in examples[0].arrays}
        sizes = [len(next(iter(example.arrays.values()))) - 1 for example in examples]
        arrays["lengths"] = np.array(sizes, dtype=np.int64)
        return Batch(arrays=arrays, contexts=[example.context for example in examples])

    def predict(self, run: Run, batch: Batch, params: MelodyParams, state: State) -> list[Output]:
        music = voice(state)
        hidden, memory = listened(run, batch)
        said = losses(run, music, batch, hidden)
        sampler = Sampler(batch.contexts, temperature=params.temperature, top_k=params.top_k, top_p=params.top_p)
        last = np.stack([steps[-1] for steps in hidden])
        played: list[dict[str, np.ndarray]] = []
        for _ in range(params.length):
            if played:
                told = run("step", {**{name: array[:, None] for name, array in played[-1].items()}, "state": memory})
                last, memory = told["hidden"][:, 0], told["after"]
            played.append(music.choose(run, last, sampler))
        return [
            music.written(played, index, float(said[index].mean()), seed) for index, seed in enumerate(batch.contexts)
        ]

    def probes(self, state: State) -> Sequence[Item]:
        if state.form == "monophonic":
            return super().probes(state)
        return [Item.model_validate({"steps": steps}) for steps in ([state.pitches[::12], []], [state.pitches[:1]])]

    def score(self, outputs: Sequence[Output], answers: Sequence[int]) -> dict[str, float]:
        """The NLL of a whole part, over all its steps alike; `answers` are how many steps each melody has."""
        total = sum(output.nll * size for output, size in zip(outputs, answers, strict=True))
        return {"nll": total / max(1, sum(answers))}


def listened(run: Run, batch: Batch) -> tuple[list[np.ndarray], np.ndarray]:
    """What the encoder makes of each melody: hidden (1 + T_i, H), before its first step and after each; and the state
    at its end, (B, S).

    A state knows no padding, so melodies of unequal lengths are read together up to the end of the shortest, then
    the others go on.
    """
    arrays = {name: array for name, array in batch.arrays.items() if name != "lengths"}
    sizes = batch.arrays["lengths"] + 1
    memory = np.array(run("start", {"lengths": sizes})["state"])
    found: list[list[np.ndarray]] = [[] for _ in sizes]
    going, at = np.arange(len(sizes)), 0
    while len(going):
        until = min(int(sizes[going].min()), at + STRETCH)
        told = run("step", {**{name: array[going, at:until] for name, array in arrays.items()}, "state": memory[going]})
        memory[going] = told["after"]
        for index, steps in zip(going.tolist(), told["hidden"], strict=True):
            found[index].append(steps)
        at, going = until, going[sizes[going] > until]
    return [np.concatenate(steps) for steps in found], memory


def losses(run: Run, music: Voice, batch: Batch, hidden: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The NLL of each step of each melody, (T_i,), in nats."""
    found = []
    for index, before in enumerate(hidden):
        size = int(batch.arrays["lengths"][index])
        steps = {name: array[index, 1 : 1 + size] for name, array in batch.arrays.items() if name != "lengths"}
        parts = [slice(start, start + STRETCH) for start in range(0, size, STRETCH)]
        found.append(
            np.concatenate(
                [
                    music.losses(run, before[:-1][part], {name: array[part] for name, array in steps.items()})
                    for part in parts
                ]
            )
        )
    return found


CODEC = MelodyCodec()
