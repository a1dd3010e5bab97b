"""The use case of predicting: items in, outputs out. Knows the loaded versions; no HTTP, no tensors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from app.errors import Flaw, Invalid, TooLarge
from app.services.registry import VersionView
from app.serving.deadline import by
from models.batch import Example
from models.task import Fault, Params

if TYPE_CHECKING:
    from app.serving.loaded import Loaded
    from app.serving.served import Served

LARGE = 64 * 1024
"""Bytes of a request above which threads read and prepare it: handing over costs a tenth of a millisecond."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Who asks, and how."""

    caller: str
    """Turns are fair among callers."""
    seconds: float
    """Until the answer is of no use."""
    bulk: bool = False
    """Whether it goes after what is not."""
    bytes: int = 0
    """How large it is as it came."""


class Predictions:
    """Answers requests from whatever is loaded. Belongs to one event loop."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="read")  # one at a time: parsers hold the interpreter
        self._preparing = ThreadPoolExecutor(loaded.streams.count, thread_name_prefix="prepare")

    async def read(self, parse: Callable[[bytes], T], body: bytes) -> T:
        """What a body says; the event loop goes on meanwhile where it is large."""
        if len(body) <= LARGE:
            return parse(body)
        return await asyncio.get_running_loop().run_in_executor(self._reading, parse, body)

    def close(self) -> None:
        """Drop what has not begun."""
        for pool in (self._reading, self._preparing):
            pool.shutdown(wait=True, cancel_futures=True)

    async def predict(
        self,
        task: str,
        inputs: Sequence[Any],
        *,
        model: str | None,
        params: Params,
        asking: Asking,
    ) -> tuple[VersionView, list[Any]]:
        """One output per input, in order. Raises `NotFound`, `Conflict`, `Invalid`, `Full`, `Late`."""
        deadline = time.monotonic() + asking.seconds
        served = await self.loaded.get(model, task, deadline=deadline)
        try:
            if asking.bytes <= LARGE:
                examples = _prepared(served, inputs, params)
            else:
                loop = asyncio.get_running_loop()
                work = loop.run_in_executor(self._preparing, _prepared, served, inputs, params)
                examples = await by(deadline, work)
            key = params.model_dump_json()
            outputs = await served.batcher.submit(
                examples, params, key=key, deadline=deadline, caller=asking.caller, bulk=asking.bulk
            )
        finally:
            self.loaded.done(served)
        return served.version, outputs


def _prepared(served: Served, inputs: Sequence[Any], params: Params) -> list[Example]:
    """The example of each input; every one that cannot be used is named. Raises `Invalid`."""
    examples: list[Example] = []
    flaws: list[Flaw] = []
    most = served.longest
    for index, item in enumerate(inputs):
        try:
            example = served.predictor.prepare(item, params)
            if most is not None and example.length > most:
                told = (
                    f"input {index} has {example.length} steps; the memory of this service holds {most} of this model"
                )
                raise TooLarge(told)
            examples.append(example)
        except Fault as fault:
            place = ("params",) if fault.of == "params" else ("inputs", index)
            flaw = Flaw(detail=fault.detail, pointer="".join(f"/{_step(part)}" for part in (*place, *fault.at)))
            if flaw not in flaws[-1:]:  # wrong params are wrong for every input, and said once
                flaws.append(flaw)
    if flaws:
        raise Invalid("the inputs cannot be used", errors=flaws[:20], faults=len(flaws))
    return examples


def _step(part: str | int) -> str:
    """One step of a JSON pointer."""
    return str(part).replace("~", "~0").replace("/", "~1")
