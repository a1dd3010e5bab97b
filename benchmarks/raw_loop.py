"""The runtime alone on both cores: no HTTP, no text, no queue. Run as `python benchmarks/raw_loop.py FOLDER ITEMS.json`.

Two streams of one thread go over requests of `TOGETHER` prepared examples, each sorted by length and cut into
batches; the size of a batch that is fastest counts. Prints the sequences per second of each size as JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from models import predictor
from models.batch import Batch, Example

SIZES = (1, 2, 4, 8, 32)
STREAMS, TOGETHER, SECONDS = 2, 32, 2.0


def cut(examples: Sequence[Example], size: int) -> list[list[Example]]:
    """Batches of one request after another."""
    cuts = []
    for begin in range(0, len(examples), TOGETHER):
        request = sorted(examples[begin : begin + TOGETHER], key=lambda example: example.length)
        cuts += [request[i : i + size] for i in range(0, len(request), size)]
    return cuts


def rate(held: predictor.Predictor, batches: Sequence[Batch], sizes: Sequence[int]) -> float:
    """Sequences per second of all streams together."""
    done = [0] * STREAMS
    ends = time.perf_counter() + SECONDS

    def work(stream: int) -> None:
        at = stream
        while time.perf_counter() < ends:
            held.run("forward", batches[at % len(batches)].arrays)
            done[stream] += sizes[at % len(batches)]
            at += STREAMS

    threads = [threading.Thread(target=work, args=(stream,)) for stream in range(STREAMS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - began)


def main() -> None:
    folder, items = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    held = predictor.load(folder)
    params = held.codec.card.params()
    examples = [held.prepare(held.codec.card.parse_item(item), params) for item in items]
    found = {}
    for size in SIZES:
        cuts = cut(examples, size)
        found[size] = rate(held, [held.codec.collate(part) for part in cuts], [len(part) for part in cuts])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
