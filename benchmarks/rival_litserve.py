"""LitServe with its batching, to be compared with: up to 32 requests of one input, gathered for 5 ms at most.

Run as `python benchmarks/rival_litserve.py FOLDER PORT`; the same weights and codec as ours, by torch.
"""

import sys
from pathlib import Path
from typing import Any

import litserve
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from models import artifact, catalog
from models.runtimes import torch_run


class Api(litserve.LitAPI):
    """One input in, one output out; LitServe makes the batches."""

    def __init__(self, folder: str) -> None:
        super().__init__(max_batch_size=32, batch_timeout=0.005, api_path="/predict")
        self.folder = Path(folder)

    def setup(self, device: str) -> None:
        torch.set_num_threads(1)
        self.found = artifact.read(self.folder)
        task, weights = self.found.manifest.task, self.folder / artifact.WEIGHTS
        self.codec, self.params = catalog.codec(task), catalog.card(task).params()
        self.forward = torch_run.load(task, weights, state=self.found.state, config=self.found.config)

    def decode_request(self, request: dict[str, Any]) -> Any:
        return self.codec.card.parse_item(request["inputs"][0])

    def batch(self, inputs: list[Any]) -> list[Any]:
        return inputs

    def predict(self, inputs: list[Any]) -> list[Any]:
        found = self.found
        examples = [self.codec.example(item, self.params, found.state, found.config) for item in inputs]
        return self.codec.predict(self.forward, self.codec.collate(examples), self.params, found.state)

    def unbatch(self, outputs: list[Any]) -> list[Any]:
        return outputs

    def encode_response(self, output: Any) -> dict[str, Any]:
        return {"outputs": [output.model_dump()]}


if __name__ == "__main__":
    server = litserve.LitServer(Api(sys.argv[1]), accelerator="cpu", workers_per_device=1)
    server.run(
        port=int(sys.argv[2]), host="127.0.0.1", log_level="warning", generate_client_file=False, access_log=False
    )
