"""Servers to be compared with: naive FastAPI and torch, and one that does nothing.

Run as `python benchmarks/rivals.py KIND FOLDER PORT`. Each answers `POST /predict` with `{"inputs": [item, ...]}`
by the same weights and the same codec; neither checks keys, counts or logs anything.
"""

import sys
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

sys.path.insert(0, str(Path(__file__).parent.parent))

from models import artifact, catalog
from models.runtimes import torch_run

THREADS = 1


def naive(folder: Path, port: int) -> None:
    """What one writes in ten minutes: a model, a route, a forward pass."""
    torch.set_num_threads(THREADS)
    found = artifact.read(folder)
    task = found.manifest.task
    codec, params = catalog.codec(task), catalog.card(task).params()
    run = torch_run.load(task, folder / artifact.WEIGHTS, state=found.state, config=found.config)
    app = FastAPI()

    class Request(BaseModel):
        inputs: list[codec.card.item]  # type: ignore[valid-type]

    class Response(BaseModel):
        outputs: list[codec.card.output]  # type: ignore[valid-type]

    @app.post("/predict")
    def predict(request: Request) -> Response:
        examples = [codec.example(item, params, found.state, found.config) for item in request.inputs]
        return Response(outputs=codec.predict(run, codec.collate(examples), params, found.state))

    uvicorn.run(app, port=port, log_level="warning", access_log=False)


def nothing(folder: Path, port: int) -> None:
    """Bare ASGI: what the client and the HTTP server can do at most."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await receive()
            headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"{}"})

    uvicorn.run(app, port=port, log_level="warning", access_log=False, lifespan="off")


KINDS = {"naive": naive, "nothing": nothing}

if __name__ == "__main__":
    KINDS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
