"""Requests per second, latency and memory of the service beside naive and known servers. Knows processes and HTTP alone.

`python benchmarks/serving.py [--rounds 3] [--seconds 2] [--only ours,naive] [--part classifier|forecaster|start]
[--litserve PYTHON]`. Every server is started anew in every round, driven by `benchmarks/load.py` from another process,
and stopped; medians over the rounds, ratios within them. PYTHON is an interpreter that has LitServe and this project.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import versions
from benchmarks.load import Order, Seen
from benchmarks.versions import Made
from tests.service import ROOT, running

HERE = Path(__file__).parent
CONCURRENCY = (1, 16, 64)
TOGETHER = 32
"""Inputs of a large request."""
PROCESSES = 2
"""Of the API, where several share a port."""
NINE = 9
"""Models that are registered where starts are measured."""
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


@dataclass
class Figures:
    """What was seen of one server, a list of rounds for each name."""

    rounds: dict[str, list[float]] = field(default_factory=dict)
    errors: int = 0
    first_error: str = ""

    def add(self, name: str, value: float) -> None:
        self.rounds.setdefault(name, []).append(value)

    def seen(self, name: str, found: Seen) -> None:
        self.add(f"{name} rate", found.per_second)
        self.add(f"{name} p50", found.p50 * 1000)
        self.add(f"{name} p99", found.p99 * 1000)
        self.errors += found.errors
        self.first_error = self.first_error or found.first_error

    def mid(self, name: str) -> float:
        return median(self.rounds.get(name, [float("nan")]))


@dataclass(frozen=True, kw_only=True)
class Up:
    """A server that answers."""

    url: str
    key: str
    pid: int
    ready: float
    first: float = 0.0
    """Seconds of the first prediction, its version not loaded yet."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """How a server is started."""

    name: str
    start: Callable[[Made], Any]


def drive(up: Up, bodies: Sequence[str], **order: Any) -> Seen:
    """What one client process saw."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(Order(url=up.url, key=up.key, bodies=list(bodies), **order).__dict__, file)
        file.flush()
        done = subprocess.run([sys.executable, HERE / "load.py", file.name], capture_output=True, text=True, check=True)
    return Seen(**json.loads(done.stdout))


@contextmanager
def rival(script: str, *arguments: str, python: str = sys.executable) -> Iterator[Up]:
    """Another server, once it answers."""
    with tempfile.TemporaryFile() as log:
        port = str(free_port())
        began = time.perf_counter()
        process = subprocess.Popen([python, HERE / script, *arguments, port], env=ENVIRONMENT, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}/predict"
            while not answers(url):
                if process.poll() is not None or time.perf_counter() - began > 60:
                    log.seek(0)
                    raise SystemExit(f"{script} {arguments} did not start: {log.read().decode()[-2000:]}")
                time.sleep(0.02)
            yield Up(url=url, key="", pid=process.pid, ready=time.perf_counter() - began)
        finally:
            for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
                each.kill()
            process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.post(url, json={"inputs": []}, timeout=5).status_code != 404
    except httpx.TransportError:
        return False


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


@contextmanager
def ours(home: Path, key: str, made: Made, **settings: str) -> Iterator[Up]:
    """This service with keys and metrics on, its model loaded."""
    began = time.perf_counter()
    with running(home, CELLGATE_WORKERS="0", CELLGATE_LOG_FORMAT="json", **settings) as service:
        headers = {"Authorization": f"Bearer {key}"}
        while service.http.get("/health/ready").status_code != 200:
            time.sleep(0.01)
        ready = time.perf_counter() - began
        asked = time.perf_counter()
        service.http.post(f"/v1/{made.task}", json={"inputs": [made.items[0]]}, headers=headers).raise_for_status()
        first = time.perf_counter() - asked
        measured_by = time.monotonic() + 10
        while not service.http.get(f"/v1/models/{made.task}/stats", headers=headers).json()["pace"]["measured"]:
            if time.monotonic() > measured_by:
                raise SystemExit("the version was never measured")
            time.sleep(0.1)
        yield Up(url=f"{service.url}/v1/{made.task}", key=key, pid=service.process.pid, ready=ready, first=first)


def home_with(folder: Path, made: Sequence[Made], *, more: int = 0) -> str:
    """A home that holds the versions, the first of them under so many further names; returns a key."""
    environment = {**ENVIRONMENT, "CELLGATE_HOME": str(folder)}
    command = [sys.executable, "-m", "app.cli", "keys", "create", "--scope", "admin"]
    key = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    with running(folder, CELLGATE_WORKERS="0") as service:
        named = [(each.task, each) for each in made] + [(f"{made[0].task}-{number}", made[0]) for number in range(more)]
        for name, each in named:
            answer = service.http.post(
                f"/v1/models/import?name={name}&promote=always",
                content=each.archive.read_bytes(),
                headers={"Authorization": f"Bearer {key}"},
            )
            answer.raise_for_status()
    return key


def memory(pid: int) -> float:
    """Megabytes of a process and what it started."""
    process = psutil.Process(pid)
    return sum(each.memory_info().rss for each in [process, *process.children(recursive=True)]) / 2**20


def outputs(up: Up, items: Sequence[Any]) -> list[Any]:
    """The answers to some items, one request each."""
    headers = {"Authorization": f"Bearer {up.key}"} if up.key else {}
    with httpx.Client(headers=headers, timeout=30) as http:
        return [http.post(up.url, json={"inputs": [item]}).raise_for_status().json()["outputs"][0] for item in items]


def distance(one: Any, other: Any) -> float:
    """The greatest difference of two answers' numbers, relative to those above one; labels follow from them."""
    if isinstance(one, dict):
        return max((distance(one[name], other[name]) for name in one if one[name] is not None), default=0.0)
    if isinstance(one, list):
        return max((distance(a, b) for a, b in zip(one, other, strict=True)), default=0.0)
    if isinstance(one, float):
        return abs(one - other) / max(1.0, abs(one))
    return 0.0 if one == other or isinstance(one, str) else float("inf")


def bodies(items: Sequence[Any], together: int = 1) -> list[str]:
    return [json.dumps({"inputs": list(items[i : i + together])}) for i in range(0, len(items), together)]


def measured(
    servers: Sequence[Server], made: Made, *, rounds: int, seconds: float, at: Sequence[int]
) -> dict[str, Figures]:
    """Every server at every concurrency, round by round."""
    found = {server.name: Figures() for server in servers}
    expected: list[Any] | None = None
    for turn in range(rounds):
        for server in servers:
            figures = found[server.name]
            with server.start(made) as up:
                figures.add("ready", up.ready)
                if turn == 0 and server.name != "nothing":
                    said = outputs(up, made.items[:40])
                    expected = expected or said
                    figures.add("distance", distance(expected, said))
                for concurrency in at:
                    figures.seen(
                        f"c{concurrency}",
                        drive(up, bodies(made.items), concurrency=concurrency, seconds=seconds),
                    )
                if server.name.startswith("ours"):
                    figures.seen("large", drive(up, bodies(made.items, TOGETHER), concurrency=8, seconds=seconds))
                    rate = figures.rounds["c64 rate"][-1] / 2
                    figures.seen("half", drive(up, bodies(made.items), concurrency=64, seconds=seconds, rate=rate))
                figures.add("rss", memory(up.pid))
            print(f"round {turn + 1}: {server.name}", file=sys.stderr)
    return found


def raw(made: Made, rounds: int) -> float:
    """Sequences per second of the runtime alone, the best size of a batch, the median of some rounds."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as items:
        json.dump(list(made.items), items)
        items.flush()
        command = [sys.executable, HERE / "raw_loop.py", made.folder, items.name]
        runs = [
            json.loads(subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout)
            for _ in range(rounds)
        ]
    return median(max(run.values()) for run in runs)


def table(found: dict[str, Figures], at: Sequence[int], base: str) -> None:
    """One line for each server."""
    heads = [f"c={c}: requests/s (x {base})" for c in at]
    print(
        f"\n| server | {' | '.join(heads)} | p50 at 1 | p50/p99 at {at[-1]} | errors | RSS MB | ready s | differs by |"
    )
    print("|---" * (len(heads) + 7) + "|")
    for name, figures in found.items():
        rates = []
        for c in at:
            ratios = [
                a / b for a, b in zip(figures.rounds[f"c{c} rate"], found[base].rounds[f"c{c} rate"], strict=True)
            ]
            rates.append(f"{figures.mid(f'c{c} rate'):.0f} ({median(ratios):.2f})")
        last = f"c{at[-1]}"
        print(
            f"| {name} | {' | '.join(rates)} | {figures.mid(f'c{at[0]} p50'):.2f} ms "
            f"| {figures.mid(f'{last} p50'):.1f}/{figures.mid(f'{last} p99'):.1f} ms | {figures.errors} "
            f"| {figures.mid('rss'):.0f} | {figures.mid('ready'):.2f} | {figures.mid('distance'):.1e} |"
        )
        if figures.first_error:
            print(f"first error of {name}: {figures.first_error}", file=sys.stderr)


def extras(found: dict[str, Figures], loops: dict[str, float]) -> None:
    """Large requests against the runtime alone, and the tail at half of the peak."""
    for name, figures in found.items():
        if not name.startswith("ours"):
            continue
        loop = loops["int8" if "int8" in name else "fp32"]
        each = figures.mid("large rate") * TOGETHER
        print(
            f"{name}: {TOGETHER} inputs a request, concurrency 8: {each:.0f} sequences/s, {each / loop:.0%} of the loop's {loop:.0f}"
        )
        p50, p99 = figures.mid("half p50"), figures.mid("half p99")
        print(f"{name}: half of the peak, Poisson: p50 {p50:.2f} ms, p99 {p99:.2f} ms, {p99 / p50:.1f} times")


def started(home: Path, key: str, made: Made, rounds: int) -> None:
    """Seconds until the API is ready, and of the first prediction of a version that is not loaded."""
    figures = Figures()
    for _ in range(rounds):
        with ours(home, key, made) as up:
            figures.add("ready", up.ready)
            figures.add("first", up.first)
            torch = any("torch" in each.path for each in psutil.Process(up.pid).memory_maps())
    print(
        f"{NINE} models registered: ready {figures.mid('ready'):.2f} s after the start of the process, the first "
        f"prediction of a cold model {figures.mid('first') * 1000:.0f} ms, torch {'' if torch else 'not '}loaded"
    )


def classified(folder: Path, chosen: argparse.Namespace) -> None:
    """The classifier: every server."""
    text, small = versions.classifier(folder / "plain"), versions.classifier(folder / "int8", quantize=True)
    homes = {each.folder.name: (folder / f"home-{each.folder.name}", each) for each in (text, small)}
    keys = {name: home_with(home, [each]) for name, (home, each) in homes.items()}
    servers = [
        Server(name="naive", start=lambda made: rival("rivals.py", "naive", str(made.folder))),
        Server(name="ours", start=lambda made: ours(homes["plain"][0], keys["plain"], made)),
        Server(name="ours, int8", start=lambda made: ours(homes["int8"][0], keys["int8"], made)),
        Server(
            name=f"ours, int8, {PROCESSES} processes",
            start=lambda made: ours(homes["int8"][0], keys["int8"], made, CELLGATE_PROCESSES=str(PROCESSES)),
        ),
    ]
    if chosen.litserve:
        start = functools.partial(rival, "rival_litserve.py", str(text.folder), python=chosen.litserve)
        servers.insert(1, Server(name="litserve", start=lambda _: start()))
    kept = [server for server in servers if not chosen.only or server.name in chosen.only.split(";")]
    found = measured(kept, text, at=CONCURRENCY, rounds=chosen.rounds, seconds=chosen.seconds)
    print("\nclassifier: 2 bidirectional layers of 128 units, 20,000 words, 8 to 64 of them in a text")
    table(found, CONCURRENCY, kept[0].name)
    loops = {"fp32": raw(text, chosen.rounds), "int8": raw(small, chosen.rounds) if "ours, int8" in found else 0.0}
    extras(found, loops)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--only", default="", help="names of servers, with semicolons between them")
    parser.add_argument("--part", default="", choices=["", "classifier", "forecaster", "start"])
    parser.add_argument("--litserve", default=sys.executable if importlib.util.find_spec("litserve") else "")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cellgate-serving-") as scratch:
        folder = Path(scratch)
        if chosen.part in {"", "classifier"}:
            idle = Server(name="nothing", start=lambda made: rival("rivals.py", "nothing", str(made.folder)))
            probe = versions.forecaster(folder / "probe")
            ceiling = measured([idle], probe, rounds=1, seconds=chosen.seconds, at=CONCURRENCY)["nothing"]
            told = ", ".join(f"{ceiling.mid(f'c{c} rate'):.0f}/s at {c}" for c in CONCURRENCY)
            print("the client against a server that does nothing:", told)
            classified(folder, chosen)
        if chosen.part in {"", "forecaster", "start"}:
            numbers = versions.forecaster(folder / "forecaster")
            home = folder / "home"
            key = home_with(home, [numbers], more=NINE - 1)
        if chosen.part in {"", "forecaster"}:
            pair = [
                Server(name="naive", start=lambda made: rival("rivals.py", "naive", str(made.folder))),
                Server(name="ours", start=lambda made: ours(home, key, made)),
            ]
            print("\nforecaster: 1 layer of 64 units, 50 steps read")
            found = measured(pair, numbers, at=(64,), rounds=chosen.rounds, seconds=chosen.seconds)
            table(found, (64,), "naive")
        if chosen.part in {"", "start"}:
            started(home, key, numbers, chosen.rounds)


if __name__ == "__main__":
    main()
