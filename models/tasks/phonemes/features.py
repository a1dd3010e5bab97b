"""Recordings to feature frames and to the labels of frames. NumPy, and Kaldi's features by name.

T frames, F features. Frame t of audio is heard through a window around its middle, (t + 0.5) * 10 ms.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import replace

import numpy as np

from models.audio import Sound
from models.tasks.phonemes.schema import STEP, PhonemeConfig, Row, SpeechItem

SCALE = 32768.0
"""Kaldi's features are those of 16-bit samples."""
CEPSTRA = 13


def features_of(item: SpeechItem, rate: int | None, config: PhonemeConfig) -> np.ndarray:
    """(T, F), as given or computed from audio at `rate` samples a second; around its own mean if so configured."""
    frames = item.frames if item.audio is None or rate is None else computed(item.audio, rate, config)
    assert frames is not None  # noqa: S101  an item has one of the two
    own = config.normalise == "item" or (config.normalise == "auto" and item.kind == "audio")
    return frames - frames.mean(axis=0, keepdims=True) if own else frames


def computed(sound: Sound, rate: int, config: PhonemeConfig) -> np.ndarray:
    """Log-mel energies or cepstra, and their differences over time: float32 (T, F), a frame each 10 ms."""
    kaldi = importlib.import_module("kaldi_native_fbank")
    mel = config.features == "mel"
    options = kaldi.FbankOptions() if mel else kaldi.MfccOptions()
    options.frame_opts.samp_freq = rate
    options.frame_opts.frame_shift_ms = STEP * 1000
    options.frame_opts.dither = 0.0  # noise would make answers differ from call to call
    options.frame_opts.snip_edges = False
    options.mel_opts.num_bins = config.bands
    if not mel:
        options.num_ceps = min(CEPSTRA, config.bands)
    computer = kaldi.OnlineFbank(options) if mel else kaldi.OnlineMfcc(options)
    samples = sound.samples(rate) * SCALE
    for begin in range(0, len(samples), rate):  # a second at a time: nobody else's Python runs meanwhile
        computer.accept_waveform(rate, samples[begin : begin + rate])
    computer.input_finished()
    frames = np.stack([computer.get_frame(index) for index in range(computer.num_frames_ready)])
    if config.deltas:
        frames = kaldi.compute_deltas(kaldi.DeltaOptions(order=config.deltas, window=2), frames)
    return np.asarray(frames, dtype=np.float32)


def played(row: Row, speed: float) -> Row:
    """A row's audio so many times as fast, which moves its pitch and its formants too."""
    if row.audio is None or speed == 1:
        return row
    sound = replace(row.audio, rate=round(row.audio.rate * speed), seconds=row.audio.seconds / speed)
    phones = [
        phone.model_copy(update={"start": phone.start / speed, "end": phone.end / speed})
        for phone in row.phonemes or ()
    ]
    return row.model_copy(update={"audio": sound, "phonemes": phones})


def labels_of(row: Row, frames: int, silence: str) -> list[str]:
    """The label of each frame: as given, or the phoneme over its middle, and `silence` where there is none."""
    if row.labels is not None:
        return row.labels
    labels = [silence] * frames
    for phone in row.phonemes or ():
        first, after = (max(0, math.ceil(edge / STEP - 0.5)) for edge in (phone.start, phone.end))
        for index in range(first, min(after, frames)):
            labels[index] = phone.label
    return labels
