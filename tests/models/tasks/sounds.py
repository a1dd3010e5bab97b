"""Tones, pauses and stepped frames whose phonemes are known, as rows. Knows no model."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import soundfile

from models.tasks.phonemes.schema import Row

RATE = 8_000
PITCHES = {"low": 300.0, "mid": 900.0, "high": 2400.0}


def wav(samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> bytes:
    made = io.BytesIO()
    soundfile.write(made, samples, rate, format="WAV", subtype=subtype)
    return made.getvalue()


def sung(pitches: list[str | None], *, rate: int = RATE, seed: int = 0) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Tones and pauses (None) of 80 to 200 ms under faint noise, and where each tone lies."""
    generator = np.random.default_rng(seed)
    parts, phones, at = [], [], 0.0
    for pitch in pitches:
        seconds = float(generator.integers(8, 21)) / 100
        time = np.arange(round(seconds * rate)) / rate
        parts.append(0.3 * np.sin(2 * np.pi * PITCHES[pitch] * time) if pitch else 0 * time)
        if pitch:
            phones.append({"label": pitch, "start": round(at, 3), "end": round(at + seconds, 3)})
        at += seconds
    samples = np.concatenate(parts)
    return samples + 0.003 * generator.standard_normal(len(samples)), phones


def songs(n: int, *, rate: int = RATE) -> list[Row]:
    generator = np.random.default_rng(1)
    rows = []
    for index in range(n):
        chosen = [[*PITCHES, None][i] for i in generator.integers(0, 4, size=generator.integers(2, 6))]
        samples, phones = sung(chosen, rate=rate, seed=index)
        rows.append(Row(audio=wav(samples, rate), phonemes=phones))
    return rows


def stepped(n: int, *, width: int = 3, noise: float = 0.3) -> list[Row]:
    """Frames of `width` numbers, of which the one of the label is near 1, three or more in a row."""
    generator = np.random.default_rng(2)
    rows = []
    for _ in range(n):
        labels = [int(label) for label in generator.integers(0, 3, size=3) for _ in range(generator.integers(3, 6))]
        frames = np.eye(3, width)[labels] + generator.normal(scale=noise, size=(len(labels), width))
        rows.append(Row(frames=frames, labels=["abc"[label] for label in labels]))
    return rows


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
