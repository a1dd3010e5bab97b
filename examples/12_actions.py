"""Actions in video: clips of 30 frames, each frame the 2048 features that a CNN gives, ten actions, an LSTM of 256.

    python examples/12_actions.py [--clips 500] [--features 2048] [--hidden 256] [--epochs 5]   # asks CELLGATE_URL

The clips are .npy files in a zip beside a manifest that names them: 500 of them in 16 bits are 61 MB, in JSON
they would be 500 MB. A clip to predict on goes as base64 of its .npy file.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import zipfile

import numpy as np
from service import answers, connected, finished, posted

FRAMES = 30
ACTIONS = ["walk", "run", "jump", "sit", "stand", "wave", "clap", "throw", "catch", "turn"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=5)
    asked = parser.parse_args()
    choose = np.random.default_rng(0)
    scenes = choose.normal(size=(len(ACTIONS), 2, asked.features))
    data = zipped([(clip(choose, scenes, index), index) for index in range(asked.clips)])
    print(f"{asked.clips} clips in {len(data) / 1e6:.1f} MB")
    with connected() as client:
        name = posted(client, "actions", data, "application/zip")
        config = {"cell": "lstm", "hidden": asked.hidden, "epochs": asked.epochs}
        job = finished(client, {"kind": "train", "task": "actions", "dataset": name, "model": name, "config": config})
        print(f"accuracy on clips never learnt from {job['result']['metrics']['accuracy']:.2f}")
        fresh = [{"frames": {"npy": base64.b64encode(npy(clip(choose, scenes, i))).decode()}} for i in range(3)]
        for index, output in enumerate(answers(client, "actions", name, fresh, top_k=3)):
            print(f"{ACTIONS[index]:5} is called {output['label']} ({output['score']:.0%})")


def clip(choose: np.random.Generator, scenes: np.ndarray, index: int) -> np.ndarray:
    """(T, F): what the frames show goes from one scene of an action to the other, in noise."""
    first, last = scenes[index % len(ACTIONS)]
    along = np.linspace(0, 1, FRAMES)[:, None]
    frames = first * (1 - along) + last * along + choose.normal(scale=2, size=(FRAMES, len(first)))
    return frames.astype(np.float16)


def npy(array: np.ndarray) -> bytes:
    """The bytes of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def zipped(clips: list[tuple[np.ndarray, int]]) -> bytes:
    """A zip of a .npy file for each clip, and a manifest that gives it a label."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        rows = []
        for number, (frames, index) in enumerate(clips):
            archive.writestr(f"clips/{number}.npy", npy(frames))
            rows.append({"frames": f"clips/{number}.npy", "label": ACTIONS[index % len(ACTIONS)]})
        archive.writestr("manifest.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return buffer.getvalue()


if __name__ == "__main__":
    main()
