"""Sound on the wire and in a row: a WAV file, checked, and its samples at any rate. Knows no task.

N samples. Decoding is libsndfile's (soundfile), resampling soxr's; both are loaded with the first sound.
"""

from __future__ import annotations

import importlib
import io
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pybase64
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

RATES = (8_000, 48_000)
"""Samples a second, least and most."""
SECONDS = (0.02, 300.0)
"""How long a sound may last."""
MOST_BYTES = 24 * 1024 * 1024
LOUDEST = 1000
"""Of samples that are floats; what is louder is no sound, and its energy no number."""
CONTAINERS = ("WAV", "WAVEX", "RF64")
ENCODINGS = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")


@dataclass(frozen=True, slots=True)
class Sound:
    """A WAV file that can be decoded."""

    data: bytes
    rate: int
    """Samples a second; another than the file's plays it slower or faster."""
    seconds: float

    @classmethod
    def of(cls, data: bytes) -> Sound:
        """The sound in a WAV file's bytes. Raises `ValueError` in a sentence where there is none."""
        if len(data) > MOST_BYTES:
            raise ValueError(f"a WAV file of {len(data)} bytes; at most {MOST_BYTES}: send one channel of 16 bits")
        soundfile = importlib.import_module("soundfile")
        try:
            found = soundfile.info(io.BytesIO(data))
        except soundfile.SoundFileError:
            raise ValueError("the bytes are not a readable WAV file") from None
        if found.format not in CONTAINERS:
            raise ValueError(f"a WAV file is expected, not {found.format}")
        if found.subtype not in ENCODINGS:
            raise ValueError(f"the WAV file is encoded as {found.subtype}; known: {', '.join(ENCODINGS)}")
        if not RATES[0] <= found.samplerate <= RATES[1]:
            raise ValueError(f"{found.samplerate} samples a second; from {RATES[0]} to {RATES[1]} are taken")
        if found.channels > 2:
            raise ValueError(f"{found.channels} channels; one or two are taken")
        if not SECONDS[0] <= found.duration <= SECONDS[1]:
            raise ValueError(f"{found.duration:.3f} s of sound; from {SECONDS[0]:g} to {SECONDS[1]:g} s are taken")
        sound = cls(data, found.samplerate, found.duration)
        if found.subtype in ("FLOAT", "DOUBLE") and not (np.abs(sound.samples(found.samplerate)) <= LOUDEST).all():
            raise ValueError(f"the WAV file holds samples that are no number up to {LOUDEST}, where 1 is full scale")
        return sound

    def samples(self, rate: int) -> np.ndarray:
        """(N,) float32, mostly from -1 to 1, at `rate` a second: the mean of its channels."""
        decoded, _ = importlib.import_module("soundfile").read(io.BytesIO(self.data), dtype="float32", always_2d=True)
        mono: np.ndarray = decoded.mean(axis=1)
        if self.rate == rate:
            return mono
        resampled: np.ndarray = importlib.import_module("soxr").resample(mono, self.rate, rate)
        return resampled


class _Wav:
    """Marks a field as a sound: base64 on the wire, bytes from an archive."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        written = core_schema.plain_serializer_function_ser_schema(
            lambda sound: pybase64.b64encode(sound.data).decode(), return_schema=core_schema.str_schema()
        )
        return core_schema.no_info_plain_validator_function(_sound, serialization=written)

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "contentEncoding": "base64", "contentMediaType": "audio/wav"}


Wav = Annotated[Sound, _Wav()]
"""A sound as a field: base64 of a WAV file."""


def silent(seconds: float, rate: int) -> Sound:
    """A sound in which nothing is heard."""
    file = io.BytesIO()
    zeros = np.zeros(round(seconds * rate), dtype=np.int16)
    importlib.import_module("soundfile").write(file, zeros, rate, format="WAV", subtype="PCM_16")
    return Sound.of(file.getvalue())


def _sound(value: Any) -> Sound:
    if isinstance(value, Sound):
        return value
    try:
        data = pybase64.b64decode(value, validate=True) if isinstance(value, str) else value
    except ValueError:
        data = None
    if not isinstance(data, bytes):
        raise PydanticCustomError("audio", "the base64 of a WAV file is expected")
    try:
        return Sound.of(data)
    except ValueError as error:
        # Pydantic fills braces of a template: the sentence goes in as a value.
        raise PydanticCustomError("audio", "{sentence}", {"sentence": str(error)}) from None
