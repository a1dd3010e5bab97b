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

STRETCH = 16_384
"""Steps of all melodies of a batch that are read by one call at most: bounds memory, however long they are."""
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
        said, last, memory = listened(run, music, batch)
        sampler = Sampler(batch.contexts, temperature=params.temperature, top_k=params.top_k, top_p=params.top_p)
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


def listened(run: Run, music: Voice, batch: Batch) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Read each melody to its end: the NLL of each of its steps, (T_i,), in nats; and what the encoder then says,
    (B, H), and holds, (B, S), to go on from.

    A state knows no padding, so melodies of unequal lengths are read together up to the end of the shortest, then
    the others go on.
    """
    arrays, lengths = {n: array for n, array in batch.arrays.items() if n != "lengths"}, batch.arrays["lengths"]
    memory = np.array(run("start", {"lengths": lengths})["state"])
    last: dict[int, np.ndarray] = {}
    found: list[list[np.ndarray]] = [[] for _ in lengths]
    going, at = np.arange(len(lengths)), 0
    while len(going):
        until = min(int(lengths[going].min()) + 1, at + max(1, STRETCH // len(going)))
        told = run("step", {**{name: array[going, at:until] for name, array in arrays.items()}, "state": memory[going]})
        memory[going] = told["after"]
        size = min(until, int(lengths[going].max())) - at  # the last step of the longest is followed by none
        real = np.arange(at, at + size) < lengths[going, None]
        said = {name: array[going, at + 1 : at + 1 + size][real] for name, array in arrays.items()}
        losses = music.losses(run, told["hidden"][:, :size][real], said) if size else np.zeros(0)
        for index, part, steps in zip(
            going.tolist(), np.split(losses, real.sum(1).cumsum()[:-1]), told["hidden"], strict=True
        ):
            found[index].append(part)
            last[index] = steps[-1]
        at, going = until, going[lengths[going] >= until]
    return [np.concatenate(parts) for parts in found], np.stack([last[i] for i in range(len(lengths))]), memory


CODEC = MelodyCodec()
