"""The examples run against a real service, with small settings. Knows scripts and what they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.service import ROOT, Service, running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("home")) as found:
        yield found


@pytest.fixture
def run(service: Service) -> Callable[..., str]:
    def run(script: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, str(ROOT / "examples" / script), *arguments],
            env={**os.environ, "CELLGATE_URL": service.url},
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_stacked_layers_read_scalars_of_any_length(run: Callable[..., str]) -> None:
    said = run("01_stacked_scalars.py")
    found = [float(number) for number in re.findall(r"next (-?[\d.]+)", said)]
    assert found == pytest.approx([40, 13, 20], rel=0.1)


def test_the_gates_are_told_and_drawn(run: Callable[..., str], tmp_path: Path) -> None:
    said = run("02_gates.py", "--epochs", "3", "--picture", str(tmp_path / "gates.png"))
    found = re.search(r"^the equations hold to (\S+)$", said, re.MULTILINE)
    assert found
    assert float(found[1]) < 1e-5
    assert len(re.findall(r"^\w+ +gate: shut \d+%, open \d+% of the time$", said, re.MULTILINE)) == 3
    assert (tmp_path / "gates.png").read_bytes().startswith(b"\x89PNG")


def test_the_written_out_forward_pass_gives_the_served_answer(run: Callable[..., str]) -> None:
    said = run("03_forward_pass.py", "--epochs", "2")
    assert len(re.findall(r"^step \d:(?: +[+-]0\.\d{4}){4}$", said, re.MULTILINE)) == 10
    served, written = re.findall(r"^(?:served|written out) +(.+)$", said, re.MULTILINE)
    assert [float(x) for x in served.split()] == pytest.approx([float(x) for x in written.split()], rel=1e-4)


def test_a_noisy_sine_is_forecast_better_than_by_its_last_value(run: Callable[..., str], tmp_path: Path) -> None:
    said = run("06_noisy_sine.py", "--epochs", "8", "--picture", str(tmp_path / "sine.svg"))
    found = re.search(r"error ([\d.]+); of the last value ([\d.]+);", said)
    assert found
    assert float(found[1]) < 0.9 * float(found[2])
    assert (tmp_path / "sine.svg").read_text(encoding="utf-8").count("<polyline") == 2


def test_sequences_are_told_apart_and_the_training_is_drawn(run: Callable[..., str], tmp_path: Path) -> None:
    said = run("04_sequence_classification.py", "--picture", str(tmp_path / "history.png"))
    history = re.findall(r"^epoch +\d+: accuracy ([\d.]+), of validation ([\d.]+)$", said, re.MULTILINE)
    assert len(history) == 10
    assert min(map(float, history[-1])) >= 0.8
    assert len(re.findall(r"^(\w+) +is called \1", said, re.MULTILINE)) >= 3
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")


def test_a_stacked_bidirectional_network_finds_where_the_pulse_is(run: Callable[..., str]) -> None:
    said = run("05_stacked_bidirectional.py", "--epochs", "12")
    assert len(re.findall(r"^(\w+) +is called \1", said, re.MULTILINE)) >= 2


def test_clips_come_in_a_zip_and_leave_as_npy(run: Callable[..., str]) -> None:
    said = run("12_actions.py", "--clips", "120", "--features", "16", "--hidden", "16", "--epochs", "10")
    assert float(re.findall(r"never learnt from ([\d.]+)", said)[0]) >= 0.5
    assert len(re.findall(r"^(\w+) +is called", said, re.MULTILINE)) == 3


def test_four_sentences_teach_two_labels(run: Callable[..., str]) -> None:
    said = run("07_sentiment.py")
    assert re.search(r"'I loved this movie!': (positive|negative) \(\d+%\)", said)


def test_a_melody_goes_on_and_is_a_midi_file(run: Callable[..., str], tmp_path: Path) -> None:
    said = run("08_melody.py", "--epochs", "4", "--midi", str(tmp_path / "melody.mid"))
    found = re.search(r"^goes on +(.+)$", said, re.MULTILINE)
    assert found
    assert len(found[1].split()) == 50
    assert set(found[1].split()) <= set("CDEFGAB")
    assert 1.8 < float(re.findall(r"^nll +([\d.]+)", said, re.MULTILINE)[0]) < 2.3
    assert run("08_melody.py", "--epochs", "4").splitlines()[1] == said.splitlines()[1]
    assert (tmp_path / "melody.mid").read_bytes().startswith(b"MThd")


def test_two_cells_are_compared_by_one_job(run: Callable[..., str]) -> None:
    said = run(
        "14_lstm_against_gru.py", "--rows", "150", "--steps", "20", "--units", "8", "--epochs", "2", "--seeds", "1"
    )
    accuracies = {cell: float(mean) for cell, mean in re.findall(r"^(lstm|gru) +([\d.]+) %", said, re.MULTILINE)}
    assert accuracies.keys() == {"lstm", "gru"}
    assert all(0 <= accuracy <= 100 for accuracy in accuracies.values())
    assert re.search(
        r"^best by validation: (lstm|gru), seed 0; served as version 1 of example-\w+$", said, re.MULTILINE
    )


def test_two_sentences_teach_entities(run: Callable[..., str]) -> None:
    said = run("09_entities.py")
    assert re.search(r"'John lives in New York': John \(PER, \d+%\), New York \(LOC, \d+%\)$", said, re.MULTILINE)
    assert re.search(r"'Apple is .*': Apple \(ORG, \d+%\), Cupertino \(LOC, \d+%\)$", said, re.MULTILINE)
    assert re.search(r"'Emma works for Google in London': .*London \(LOC, \d+%\)", said)


def test_noise_in_a_sine_is_reconstructed_badly(run: Callable[..., str]) -> None:
    said = run("13_autoencoder.py", "--epochs", "20")
    flagged: dict[str, list[int]] = {kind: [] for kind in ("noisy", "clean")}
    for kind, count in re.findall(r"^(noisy|clean) window: +(\d+) of 50", said, re.MULTILINE):
        flagged[kind].append(int(count))
    assert len(flagged["noisy"]) == len(flagged["clean"]) == 10
    assert min(flagged["noisy"]) > 2 * max(flagged["clean"])


def test_frames_are_heard_as_phonemes(run: Callable[..., str]) -> None:
    said = run("11_phonemes.py", "--utterances", "300", "--hidden", "24", "--epochs", "8")
    assert float(re.findall(r"never learnt from: ([\d.]+)% right", said)[0]) > 40
    true, heard = (found.split() for found in re.findall(r"^(?:true|heard) +(.+)$", said, re.MULTILINE))
    assert len(true) == len(heard) == 20
    edges = [
        (int(start), int(end)) for start, end in re.findall(r"frames +(\d+) to +(\d+) \(\d+%\)$", said, re.MULTILINE)
    ]
    assert edges == sorted(edges)
    assert all(0 <= start < end <= 20 and len(set(heard[start:end])) == 1 for start, end in edges)


def test_two_phrases_are_translated_and_what_is_unknown_is_kept(run: Callable[..., str]) -> None:
    said = run("10_short_phrases.py")
    assert "hello world -> hola mundo (" in said
    assert "how are you -> como estas tu (" in said
    assert re.search(r"hello world 🌍 -> .*🌍 \(", said)
