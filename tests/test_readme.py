"""What README.md tells people to type is run; what docs/ says of the code is compared with it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service import ROOT, running

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The README's code of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def decoded(text: str) -> list[dict[str, object]]:
    """The JSON objects that stand one after another."""
    found, at = [], 0
    while at < len(text):
        value, end = json.JSONDecoder().raw_decode(text, at)
        found.append(value)
        at = end + len(text[end:]) - len(text[end:].lstrip())
    return found


def shell(command: str, url: str) -> str:
    command = command.replace("http://127.0.0.1:8000", url).replace(
        ".venv/bin/cellgate", f"{sys.executable} -m app.cli"
    )
    done = subprocess.run(
        ["bash", "-euc", command],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "CELLGATE_URL": url, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_commands_of_the_readme_work_and_answer_as_shown(tmp_path: Path) -> None:
    train, predict, commands = blocks("sh")
    shown_train, shown_predict = (decoded(text) for text in blocks("json"))
    with running(tmp_path) as service:
        dataset, job = decoded(shell(train, service.url))
        assert {
            key: value for key, value in shown_train[0].items() if key not in {"id", "..."}
        }.items() <= dataset.items()
        assert job["state"] == shown_train[1]["state"]
        assert service.ended(str(job["id"]))["state"] == "succeeded"
        [answer] = decoded(shell(predict, service.url))
        [shown] = shown_predict
        assert answer["model"] == shown["model"]
        for output, expected in zip(answer["outputs"], shown["outputs"], strict=True):  # type: ignore[call-overload]
            assert output["label"] == expected["label"]
            assert output["scores"] == pytest.approx(expected["scores"], abs=0.1)  # another CPU rounds otherwise
        said = shell(commands, service.url)
        assert '"version": 2' in said
        assert '"label"' in said


def test_a_file_of_competition_series_becomes_a_data_set(tmp_path: Path) -> None:
    line = next(text for text in README.splitlines() if text.startswith("python3 -c"))
    series = {
        "T1": {"period": "MONTHLY", "x": [1, 2, 3], "xx": [4]},
        "T2": {"period": "QUARTERLY", "x": [5], "xx": [6]},
    }
    (tmp_path / "tourism.json").write_text(json.dumps(series))
    subprocess.run(["bash", "-euc", line.replace("python3", sys.executable)], cwd=tmp_path, check=True)
    rows = [json.loads(row) for row in (tmp_path / "tourism.jsonl").read_text().splitlines()]
    assert rows[0] == {"id": "T1", "freq": "M", "values": [1, 2, 3], "test_values": [4]}
    assert rows[1]["freq"] == "Q"


def test_the_settings_page_is_current() -> None:
    printed = subprocess.run(
        [sys.executable, "scripts/settings_page"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert printed.stdout == (ROOT / "docs" / "settings.md").read_text(encoding="utf-8"), "run `make docs`"


def test_every_path_the_readme_names_is_there() -> None:
    named = [
        name for name in re.findall(r"`([\w./]+)`", README) if "/" in name or name.endswith((".md", ".yml", ".txt"))
    ]
    missing = [name for name in named if not name.startswith(("/", "./var")) and not (ROOT / name).exists()]
    assert named
    assert not missing
