"""Sends hostile requests to a service of its own on loopback; counts answers of 500 and above, hangs and tracebacks.

    python benchmarks/hostile.py [requests]      default 10,000

Half of them are made here: mutated bodies, wrong types, broken framing. The others schemathesis makes of the
OpenAPI document, with names that exist put in (`tests/conforming.py`); their answers must fit the document.
"""

from __future__ import annotations

import collections
import json
import random
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.conforming import Found, conforming
from tests.service import ROOT, Service, running

HANG = 30.0
LEAKS = ("Traceback", 'File "', "sqlalchemy", "/app/", "SELECT ", "site-packages")
VALUES: list[Any] = [
    None, True, 0, -1, 10**30, 1e308, -1e308, 0.1, "", " ", "a", "\x00", "\ud7ff", "é" * 300, "'; DROP TABLE jobs;--",
    "../../etc/passwd", "{{7*7}}", [], {}, [[]], [None], {"a": {"b": []}}, ["x"] * 300, "9" * 400, "\u202e",
    [[[[[[]]]]]],
]  # fmt: skip
RAW = [
    b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"inputs": [NaN]}', b'{"inputs": [1e999]}', b"[" * 50_000,
    b'{"a":' * 5_000,
    b'{"inputs": ["\\ud800"]}', b'{"inputs": [' + b"9" * 5_000 + b"]}", b"\x00" * 100,
    b'{"inputs":["a"],"inputs":["b"]}',
]  # fmt: skip
FRAMES = [
    b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00",
    b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"GET /v1/tasks HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", b"G" * 70_000,
    b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
]  # fmt: skip
TYPES = ["application/json", "application/x-ndjson", "text/csv", "text/tab-separated-values", "text/plain", "image/png"]
TYPES += [
    "application/vnd.apache.parquet",
    "application/zip",
    "multipart/form-data",
    "multipart/form-data; boundary=x",
    "",
]
SEGMENTS = ["reviews", "reviews@production", "reviews:1", "reviews:0", "..%2f..", "%00", "a" * 300, "1e9", "sentiment"]
SEGMENTS += ["99999999999999999999", "-1", "x:y@z", "opinions", "%ff", "@", ":"]
SEEDS: dict[str, Any] = {
    "/v1/sentiment": {"inputs": ["good", {"text": "bad"}], "model": "reviews", "params": {"top_k": 1}},
    "/v1/forecasting": {
        "inputs": [{"values": [1, 2, None], "freq": "M"}],
        "params": {"horizon": 2, "quantiles": [0.5]},
    },
    "/v1/jobs": {"kind": "train", "task": "sentiment", "dataset": "for-reviews", "model": "x", "config": {"epochs": 1}},
}


def mutated(value: Any, dice: random.Random) -> Any:
    """The value with something in it replaced, added or taken away."""
    if isinstance(value, dict) and value and dice.random() < 0.8:
        key = dice.choice(list(value))
        changed = dict(value)
        match dice.randrange(4):
            case 0:
                del changed[key]
            case 1:
                changed[str(dice.choice(VALUES))[:50]] = dice.choice(VALUES)
            case _:
                changed[key] = mutated(value[key], dice)
        return changed
    if isinstance(value, list) and value and dice.random() < 0.7:
        at = dice.randrange(len(value))
        return [*value[:at], mutated(value[at], dice), *value[at + 1 :]]
    return dice.choice(VALUES)


def request(paths: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    """One hostile request, as httpx takes it."""
    kind = dice.random()
    if kind < 0.45:
        path = dice.choice(list(SEEDS))
        return {"method": "POST", "url": path, "content": _json(mutated(SEEDS[path], dice)), "headers": _headers(dice)}
    path = dice.choice(list(paths))
    method = dice.choice([*paths[path], "POST", "GET"]).upper()
    while "{" in path:
        before, _, rest = path.partition("{")
        path = before + _segment(dice) + rest.partition("}")[2]
    query = {
        name: str(dice.choice(VALUES))[:60]
        for name in dice.sample(["task", "name", "page_size", "page_token", "state", "after"], 3)
    }
    body = dice.choice(RAW) if kind < 0.8 else _json(mutated({"version": 1, "model": "reviews", "alias": "p"}, dice))
    headers = _headers(dice, dice.choice(TYPES))
    return {
        "method": method,
        "url": path,
        "params": query,
        "content": body if method != "GET" else None,
        "headers": headers,
    }


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _segment(dice: random.Random) -> str:
    return dice.choice(SEGMENTS)


def _headers(dice: random.Random, media: str = "application/json") -> dict[str, str]:
    extra = {
        "X-Deadline-Ms": ["-1", "x", "1", "1e400"],
        "Idempotency-Key": ["a" * 500, "k"],
        "X-Request-ID": ["x" * 9000, "ok"],
    }
    extra |= {"Last-Event-ID": ["-1", "z", "9" * 40], "Authorization": ["Bearer", "Bearer cg_x_y", "Basic !"]}
    name = dice.choice([*extra, ""])
    return {"Content-Type": media, **({name: dice.choice(extra[name])} if name else {})}


def frames(url: str, counts: collections.Counter[str]) -> None:
    """Requests that are no HTTP, each on a connection of its own."""
    place = urlsplit(url)
    for frame in FRAMES:
        with socket.create_connection((place.hostname, place.port), timeout=HANG) as connection:
            connection.sendall(frame)
            connection.shutdown(socket.SHUT_WR)
            try:
                answer = connection.recv(4096)
            except TimeoutError:
                counts["hang"] += 1
                continue
            except ConnectionError:
                answer = b""
            counts["broken frame"] += 1
            if answer.startswith(b"HTTP/1.1 5"):
                counts["faults"] += 1
                print("5xx for a frame:", frame[:60], answer[:60])


def attack(service: Service, count: int, counts: collections.Counter[str]) -> None:
    """Send so many requests, and print what should not have been answered so."""
    dice = random.Random(0)  # noqa: S311  a seed, so that a finding can be found again
    paths = service.http.get("/openapi.json").json()["paths"]
    with httpx.Client(base_url=service.url, timeout=HANG) as http:
        for _ in range(count):
            asked = request(paths, dice)
            try:
                answer = http.request(**asked)
            except httpx.TimeoutException:
                counts["hang"] += 1
                print("hang:", asked["method"], asked["url"])
                continue
            except (httpx.HTTPError, UnicodeEncodeError, ValueError) as error:
                counts[f"not sent or cut off: {type(error).__name__}"] += 1
                continue
            counts[f"{answer.status_code // 100}xx"] += 1
            text = answer.text
            if answer.status_code >= 500 and answer.status_code not in {503, 504}:
                counts["faults"] += 1
                print(answer.status_code, asked["method"], asked["url"], str(asked.get("content"))[:120], text[:200])
            elif answer.status_code >= 500:
                counts[f"of these {answer.status_code}"] += 1
            said = f"{asked['url']} {asked['content']!r}"
            leaks = any(leak in text and leak not in said for leak in LEAKS)
            if "docs" not in asked["url"] and "openapi" not in asked["url"] and leaks:
                counts["leak"] += 1
                print("leak:", asked["method"], asked["url"], text[:200])


def trained(service: Service) -> None:
    """A model of every task, and two versions of `reviews`."""
    names = {"sentiment": "reviews", "forecasting": "sales"}
    for task in [card["name"] for card in service.http.get("/v1/tasks").json()["items"]]:
        name, times = names.get(task, f"own-{task}"), 1 + (task == "sentiment")
        sample = (ROOT / f"models/tasks/{task}/sample.jsonl").read_bytes()
        query, headers = {"task": task, "name": f"for-{name}"}, {"Content-Type": "application/x-ndjson"}
        service.http.post("/v1/datasets", params=query, content=sample, headers=headers).raise_for_status()
        body = {"kind": "train", "task": task, "dataset": f"for-{name}", "model": name, "config": {"epochs": 1}}
        for _ in range(times):
            job = service.http.post("/v1/jobs", json=body).raise_for_status().json()["id"]
            assert service.ended(job)["state"] == "succeeded"


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    counts: collections.Counter[str] = collections.Counter()
    settings = {"CELLGATE_WORKERS": "0", "CELLGATE_LOG_LEVEL": "error", "CELLGATE_MAX_JOBS": "100000"}
    with tempfile.TemporaryDirectory() as folder:
        with running(Path(folder)) as service:
            trained(service)
        with running(Path(folder), **settings) as service:
            begun = time.perf_counter()
            operations = sum(len(each) for each in service.http.get("/openapi.json").json()["paths"].values())
            found = conforming(service.url, each=max(2, count // 2 // operations))
            attack(service, max(0, count - found.requests), counts)
            frames(service.url, counts)
            seconds = time.perf_counter() - begun
            alive = service.http.get("/health/live").status_code == 200
            print("".join(service.lines[3:])[:4000])
    print(f"{count} requests in {seconds:.0f} s, alive after: {alive}\n")
    _tell(counts, found)


def _tell(counts: collections.Counter[str], found: Found) -> None:
    print("| made here: answer | requests |\n|---|---|")
    for name, number in sorted(counts.items()):
        print(f"| {name} | {number} |")
    print(f"5xx other than 503 and 504: {counts['faults']}, hangs: {counts['hang']}, leaks: {counts['leak']}\n")
    print("| made of the OpenAPI document: answer | requests |\n|---|---|")
    totals: collections.Counter[int] = collections.Counter()
    for (_, status), number in found.statuses.items():
        totals[status] += number
    for status, number in sorted(totals.items()):
        print(f"| {status} | {number} |")
    print(f"faults: {len(found.faults)}; operations without a success: {', '.join(found.shallow()) or 'none'}")
    for fault in found.faults[:20]:
        print("-", fault)


if __name__ == "__main__":
    main()
