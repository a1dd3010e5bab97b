"""kill -9 at random moments over short jobs: all must finish, none twice, with the weights of undisturbed runs.

    python benchmarks/kill_storm.py [sqlite] [postgres] [--kills 100] [--jobs 40] [--gap 3.5] [--epochs 60] [--seed 0]

One API and two workers, each started again as soon as it is killed. Killed are workers, the processes that they learn
in, the API, and Postgres with every process of its own; which, and when, is drawn with the seed. Jobs: trainings of
eight configurations on sentiment's sample, every fourth begun with the weights of a version; and four bulk predictions
over 20,000 rows. Checked: each job succeeded, once; each model has one version, made by its job; each weights digest and each
result is that of the same configuration undisturbed. Ends with 1 where anything is otherwise.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.postgres import LASTING, Cluster, cluster
from tests.service import ROOT

CONFIGS, PREDICTIONS, ROWS = 8, 4, 20_000
ENDED = {"succeeded", "failed", "cancelled"}
PATIENCE, STILL = 300.0, 900.0
"""Seconds: far more than any of it takes on a machine of its own, for others may hold its cores."""
NDJSON = {"Content-Type": "application/x-ndjson"}


class Site:
    """An API and two workers, as an operator's system would keep them running."""

    def __init__(self, home: Path, url: str | None) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        own = {
            "CELLGATE_HOME": str(home),
            "CELLGATE_PORT": str(port),
            "CELLGATE_LEASE_SECONDS": "3",
            "CELLGATE_LOG_LEVEL": "warning",
            "OMP_NUM_THREADS": "1",
            **({"CELLGATE_DATABASE_URL": url} if url else {}),
        }
        self.environment = {**{n: v for n, v in os.environ.items() if not n.startswith("CELLGATE_")}, **own}
        self.log = (home / "log").open("wb")
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)
        commands = {"api": ["serve", "--workers", "0"], "worker 1": ["worker"], "worker 2": ["worker"]}
        self.commands = {name: [sys.executable, "-m", "app.cli", *command] for name, command in commands.items()}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.start("api")
        self.ask("GET", "/health/ready")

    def start(self, name: str) -> None:
        self.running[name] = subprocess.Popen(
            self.commands[name], env=self.environment, cwd=ROOT, stdout=self.log, stderr=self.log
        )

    def kill(self, name: str) -> None:
        """End a process at once, and start it again."""
        self.running[name].kill()
        self.running[name].wait(10)
        self.start(name)

    def learning(self) -> list[psutil.Process]:
        """The processes that jobs run in: those of each worker's own server."""
        found = []
        for name, process in self.running.items():
            if name != "api":
                with contextlib.suppress(psutil.NoSuchProcess):
                    found += [job for server in psutil.Process(process.pid).children() for job in server.children()]
        return found

    def stop(self) -> None:
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()
        self.http.close()
        self.log.close()

    def ask(self, method: str, path: str, **asked: Any) -> Any:
        """A good answer; a service or database that is away is asked again for `PATIENCE` seconds."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                answer = self.http.request(method, path, **asked)
                if answer.status_code < 500:
                    answer.raise_for_status()
                    return answer.json() if "json" in answer.headers.get("content-type", "") else answer.text
            except httpx.TransportError:
                pass
            if time.monotonic() > until:
                raise SystemExit(f"{method} {path} has no answer for {PATIENCE:.0f} s")
            time.sleep(0.1)

    def submit(self, key: str, **body: Any) -> str:
        """The job's id; asked again under the same key, it is the same job."""
        return str(self.ask("POST", "/v1/jobs", json=body, headers={"Idempotency-Key": key})["id"])

    def states(self, jobs: list[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        token = ""
        while True:
            page = self.ask("GET", "/v1/jobs", params={"page_size": 100, "page_token": token})
            found |= {job["id"]: job["state"] for job in page["items"]}
            token = page["next_page_token"]
            if not token:
                return {job: found.get(job, "lost") for job in jobs}

    def await_all(self, jobs: list[str]) -> None:
        """Until the jobs have ended, or none of them did anything for `STILL` seconds."""
        before: dict[str, str] = {}
        changed = time.monotonic()
        while not set((now := self.states(jobs)).values()) <= ENDED | {"lost"}:
            if now != before:
                before, changed = now, time.monotonic()
            if time.monotonic() - changed > STILL:
                print(f"after {STILL:.0f} s without a change: {collections.Counter(now.values())}", flush=True)
                return
            time.sleep(0.5)


class Storm:
    """The kills: which process, and when."""

    def __init__(self, site: Site, server: Cluster | None, *, gap: float, seed: int) -> None:
        self.site, self.server, self.gap = site, server, gap
        self.chance = random.Random(seed)  # noqa: S311  no secret
        self.kills: collections.Counter[str] = collections.Counter()

    def rage(self, jobs: list[str], kills: int) -> None:
        """Kill so often, as long as any of the jobs has not ended."""
        while self.kills.total() < kills:
            time.sleep(self.chance.uniform(0, 2 * self.gap))
            if set(self.site.states(jobs).values()) <= ENDED:
                return
            self.strike()

    def strike(self) -> None:
        """Kill something; nothing where a job's process was drawn and none runs at the moment."""
        draw = self.chance.random()
        learning = self.site.learning()
        if draw < 0.04 and self.server is not None:
            self.server.kill()
            self.server.start()
            self.kills["Postgres"] += 1
        elif draw < 0.10:
            self.site.kill("api")
            self.kills["API"] += 1
        elif draw < 0.55:
            with contextlib.suppress(psutil.NoSuchProcess, IndexError):
                self.chance.choice(learning).kill()
                self.kills["a job's process"] += 1
        else:
            self.site.kill(self.chance.choice(["worker 1", "worker 2"]))
            self.kills["worker"] += 1


def orders(epochs: int) -> list[dict[str, Any]]:
    """The configurations of the trainings."""
    small = {"epochs": epochs, "patience": epochs, "hidden": 16, "embedding": 16}
    common = {"kind": "train", "task": "sentiment", "dataset": "opinions"}
    made = [{**common, "config": {**small, "seed": seed}} for seed in range(CONFIGS)]
    for order in made[3::4]:
        order["warm_start"] = "undisturbed-0:1"
    return made


def submitted(site: Site, prefix: str, wanted: list[dict[str, Any]]) -> list[str]:
    return [site.submit(f"{prefix}-{n}", **order, model=f"{prefix}-{n}") for n, order in enumerate(wanted)]


def asked(site: Site, prefix: str, count: int) -> list[str]:
    body = {"kind": "predict", "model": "undisturbed-0", "dataset": "many"}
    return [site.submit(f"{prefix}-{n}", **body) for n in range(count)]


def uploaded(site: Site) -> None:
    sample = (ROOT / "models/tasks/sentiment/sample.jsonl").read_bytes()
    many = [{"text": f"a fine film, the {n}th of its kind", "label": ("good", "bad")[n % 2]} for n in range(ROWS)]
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in many)
    for name, content in (("opinions", sample), ("many", lines)):
        site.ask("POST", "/v1/datasets", params={"task": "sentiment", "name": name}, content=content, headers=NDJSON)


def digest(site: Site, model: str) -> str:
    return str(site.ask("GET", f"/v1/models/{model}/versions/1")["weights_digest"])


def judged(site: Site, jobs: list[str], bulk: list[str], truth: list[str], result: str) -> list[str]:
    """What is not as it should be, a sentence each."""
    faults = []
    for number, job in enumerate([*jobs, *bulk]):
        view = site.ask("GET", f"/v1/jobs/{job}")
        ends = [step for step in view["transitions"] if step["state"] in ENDED]
        if view["state"] != "succeeded" or len(ends) != 1:
            faults.append(f"{job} is {view['state']} after {len(ends)} ends: {view['error']}")
        elif job in bulk:
            if view["result"]["digest"] != result:
                faults.append(f"{job} gave other lines than the undisturbed one")
        else:
            versions = site.ask("GET", f"/v1/models/storm-{number}/versions")["items"]
            if [version["job"] for version in versions] != [job]:
                faults.append(f"{job} has {len(versions)} versions")
            elif versions[0]["weights_digest"] != truth[number % CONFIGS]:
                faults.append(f"{job} has other weights than the undisturbed one")
    return faults


def run(given: argparse.Namespace, url: str | None, server: Cluster | None, say: Callable[[str], None]) -> bool:
    """The storm over one database; whether all was as it should be."""
    with tempfile.TemporaryDirectory(prefix="cellgate-storm-") as folder:
        site = Site(Path(folder), url)
        try:
            for name in ("worker 1", "worker 2"):
                site.start(name)
            uploaded(site)
            wanted = orders(given.epochs)
            began = time.monotonic()
            first = submitted(site, "undisturbed", wanted[:1])
            site.await_all(first)
            site.await_all(submitted(site, "undisturbed", wanted))
            (calm,) = asked(site, "calm", 1)
            site.await_all([calm])
            undisturbed = time.monotonic() - began
            truth = [digest(site, f"undisturbed-{n}") for n in range(CONFIGS)]
            result = site.ask("GET", f"/v1/jobs/{calm}")["result"]["digest"]
            began = time.monotonic()
            jobs = submitted(site, "storm", [wanted[n % CONFIGS] for n in range(given.jobs)])
            bulk = asked(site, "bulk", PREDICTIONS)
            storm = Storm(site, server, gap=given.gap, seed=given.seed)
            storm.rage([*jobs, *bulk], given.kills)
            raged = time.monotonic() - began
            site.await_all([*jobs, *bulk])
            took = time.monotonic() - began
            faults = judged(site, jobs, bulk, truth, result)
            views = [site.ask("GET", f"/v1/jobs/{job}") for job in [*jobs, *bulk]]
        finally:
            site.stop()
    good = sum(view["state"] == "succeeded" for view in views)
    begun, resumed = sum(view["attempt"] for view in views), sum(bool(view["resumed_from"]) for view in views)
    killed = ", ".join(f"{count} times {name}" for name, count in storm.kills.most_common())
    say(
        f"| {'Postgres' if server else 'SQLite'} | {storm.kills.total()}: {killed} | {good} of {len(views)} | "
        f"{begun} | {resumed} | {len(faults)} | {undisturbed:.0f} s | {raged:.0f} s, {took:.0f} s |"
    )
    for fault in faults:
        say(f"FAULT: {fault}")
    return not faults and storm.kills.total() == given.kills


@contextlib.contextmanager
def database(kind: str) -> Iterator[tuple[str | None, Cluster | None]]:
    """An address and its server; none of either for the SQLite of the home."""
    if kind == "sqlite":
        yield None, None
        return
    with cluster(LASTING) as server:
        with psycopg.connect(server("postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE storm")
        yield server("storm"), server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("databases", nargs="*", choices=["sqlite", "postgres"], default=["sqlite", "postgres"])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--gap", type=float, default=3.5, help="seconds between two kills, on average")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(
        "| database | kill -9 | succeeded | attempts | last attempt resumed | faults | undisturbed | storm, all ended |"
    )
    print("|---|---|---|---|---|---|---|---|")
    fine = True
    for kind in given.databases:
        with database(kind) as (url, server):
            fine &= run(given, url, server, lambda text: print(text, flush=True))
    raise SystemExit(0 if fine else 1)


if __name__ == "__main__":
    main()
