"""The sentiment of four sentences: post them, train, and ask about two that the model has never seen.

    python examples/07_sentiment.py          # asks the service at CELLGATE_URL, http://127.0.0.1:8000 by default

Four sentences teach a network to tell these four apart and little more: what it answers to others is a
guess, and no score of it goes above 5/6, for nobody is surer after four rows of two labels (Laplace's rule of
succession). Post a few thousand of your own, as JSON Lines or CSV with the columns `text` and `label`, for
answers worth having.
"""

from __future__ import annotations

import json
import os
import sys
import time
import uuid

import httpx

SENTENCES = [
    {"text": "This movie was great!", "label": "positive"},
    {"text": "I hated this film.", "label": "negative"},
    {"text": "Awesome performance!", "label": "positive"},
    {"text": "Terrible acting.", "label": "negative"},
]
QUESTIONS = ["I loved this movie!", "This was a waste of time."]
NAME = f"four-sentences-{uuid.uuid4().hex[:8]}"


def main() -> None:
    address = os.environ.get("CELLGATE_URL", "http://127.0.0.1:8000")
    key = os.environ.get("CELLGATE_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=address, headers=headers, timeout=60) as client:
        dataset = post(client)
        job = train(client, dataset)
        print(f"trained version {job['result']['version']} of {job['result']['model']}")
        answer = checked(client.post("/v1/sentiment", json={"inputs": QUESTIONS, "model": NAME}))
        for text, output in zip(QUESTIONS, answer["outputs"], strict=True):
            print(f"{text!r}: {output['label']} ({output['score']:.0%})")


def post(client: httpx.Client) -> str:
    """The id of a data set with the four sentences; all of them are for training."""
    lines = "".join(json.dumps({**sentence, "split": "train"}) + "\n" for sentence in SENTENCES)
    where = {"task": "sentiment", "name": NAME}
    made = client.post(
        "/v1/datasets", params=where, content=lines.encode(), headers={"Content-Type": "application/x-ndjson"}
    )
    return str(checked(made)["id"])


def train(client: httpx.Client, dataset: str) -> dict:
    """The finished job of a training with the defaults."""
    asked = {"kind": "train", "task": "sentiment", "dataset": dataset, "model": NAME}
    job = checked(client.post("/v1/jobs", json=asked))
    while job["state"] in ("queued", "running"):
        time.sleep(0.2)
        job = checked(client.get(f"/v1/jobs/{job['id']}"))
    if job["state"] != "succeeded":
        sys.exit(f"the job {job['state']}: {job['error']}")
    return job


def checked(response: httpx.Response) -> dict:
    """The JSON of a good answer; a problem ends the script with its sentence."""
    if response.is_error:
        sys.exit(f"{response.status_code}: {response.text}")
    return dict(response.json())


if __name__ == "__main__":
    main()
