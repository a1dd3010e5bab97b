"""Sounds: WAV files of every promised kind are heard alike, everything else is refused in a sentence."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import soundfile
from pydantic import TypeAdapter, ValidationError

from models import audio
from models.audio import Sound, Wav, silent

WAV: TypeAdapter[Sound] = TypeAdapter(Wav)


def tone(seconds: float = 0.5, *, rate: int = 16_000, pitch: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)


def file(samples: np.ndarray, rate: int = 16_000, subtype: str = "PCM_16", container: str = "WAV") -> bytes:
    made = io.BytesIO()
    soundfile.write(made, samples, rate, format=container, subtype=subtype)
    return made.getvalue()


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("container", ["WAV", "WAVEX"])
def test_every_depth_is_heard_alike(subtype: str, container: str) -> None:
    heard = Sound.of(file(tone(), subtype=subtype, container=container)).samples(16_000)
    assert heard.dtype == np.float32
    np.testing.assert_allclose(heard, tone(), atol=1e-4)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_every_rate_is_brought_to_one(rate: int) -> None:
    sound = Sound.of(file(tone(rate=rate), rate=rate))
    assert sound.seconds == pytest.approx(0.5, abs=1e-3)
    heard = sound.samples(16_000)
    assert len(heard) == pytest.approx(8_000, abs=2)
    np.testing.assert_allclose(heard[500:7500], tone()[500:7500], atol=2e-3)


def test_two_channels_are_their_mean() -> None:
    both = np.stack([tone(), np.zeros(8_000)], axis=1)
    np.testing.assert_allclose(Sound.of(file(both)).samples(16_000), tone() / 2, atol=1e-4)


def test_another_rate_than_the_files_plays_it_faster() -> None:
    sound = Sound.of(file(tone(1.0)))
    faster = replace(sound, rate=32_000, seconds=0.5).samples(16_000)
    np.testing.assert_allclose(faster[500:7500], tone(pitch=880.0)[500:7500], atol=2e-3)


def test_a_field_takes_base64_and_bytes_and_writes_what_it_took() -> None:
    data = file(tone())
    text = base64.b64encode(data).decode()
    assert WAV.validate_python(text) == WAV.validate_python(data) == WAV.validate_json(f'"{text}"')
    assert WAV.dump_json(WAV.validate_python(data)) == f'"{text}"'.encode()
    assert WAV.json_schema()["contentMediaType"] == "audio/wav"


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("not base64!", "the base64 of a WAV file is expected"),
        ("😀", "the base64 of a WAV file is expected"),
        (7, "the base64 of a WAV file is expected"),
        (None, "the base64 of a WAV file is expected"),
        ("", "not a readable WAV file"),
        (b"RIFF\x00\x00\x00\x00WAVE", "not a readable WAV file"),
        (file(tone())[:30], "not a readable WAV file"),
        (file(tone(), container="FLAC"), "a WAV file is expected, not FLAC"),
        (file(tone(), subtype="MS_ADPCM"), "encoded as MS_ADPCM"),
        (file(tone(rate=4_000), rate=4_000), "4000 samples a second; from 8000 to 48000"),
        (file(tone(rate=96_000), rate=96_000), "96000 samples a second"),
        (file(np.zeros((800, 3))), "3 channels; one or two are taken"),
        (file(np.zeros(0)), "0.000 s of sound"),
        (file(np.zeros(100)), "0.006 s of sound; from 0.02 to 300 s"),
        (file(np.zeros(301 * 8_000), 8_000), "301.000 s of sound"),
        (file(np.array([0.0, np.nan] * 400), subtype="FLOAT"), "no number up to 1000"),
        (file(np.array([0.0, np.inf] * 400), subtype="DOUBLE"), "no number up to 1000"),
        (file(np.array([0.0, -1e30] * 400), subtype="FLOAT"), "no number up to 1000"),
        (file(np.array([0.0, 1e300] * 400), subtype="DOUBLE"), "no number up to 1000"),
    ],
)
def test_what_is_no_sound_is_refused_in_a_sentence(value: Any, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        WAV.validate_python(value)


def test_a_file_that_is_too_large_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="a WAV file of 16044 bytes; at most 1000"):
        Sound.of(file(tone()))


def test_a_header_that_promises_more_than_there_is_counts_what_there_is() -> None:
    data = bytearray(file(tone()))
    data[40:44] = (2**31 - 1).to_bytes(4, "little")
    sound = Sound.of(bytes(data))
    assert sound.seconds == pytest.approx(0.5)
    assert len(sound.samples(16_000)) == 8_000


def test_silence_is_silent() -> None:
    sound = silent(0.25, 8_000)
    assert (sound.rate, sound.seconds) == (8_000, 0.25)
    assert not sound.samples(8_000).any()


def test_the_libraries_are_loaded_with_the_first_sound() -> None:
    code = "import sys, models.audio; assert not {'soundfile', 'soxr', '_soundfile'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
