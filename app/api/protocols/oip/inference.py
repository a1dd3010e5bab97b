"""The Open Inference Protocol (KServe, Triton) over the same models: the server, its models, inference. Knows schemas.

A model is named as everywhere: `name`, `name@alias` or `name:version`. What is asked goes the way of the `/v1` routes:
the same items, queue, deadlines and keys.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from app.api.deps import READING, Use
from app.api.predict import BULK, PRIORITY
from app.api.problems import responses
from app.api.protocols.asked import Bearing, Call
from app.api.protocols.oip import answer, columns, items
from app.api.protocols.oip.columns import Columns, inlined
from app.api.protocols.oip.request import HEADER, InferRequest, inflated, read
from app.errors import Invalid
from app.services.registry import Reference
from app.serving.deadline import late
from app.serving.predictions import Asking

PREFIX = "/v2"
EXTENSIONS = ["binary_tensor_data", "model_repository", "parameters", "statistics"]
EXAMPLE = {
    "id": "1",
    "parameters": {"top_k": 1},
    "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["I loved this movie!"]}],
    "outputs": [{"name": "label"}, {"name": "score"}],
}
ModelName = Annotated[str, Path(max_length=140, description="name, name@alias or name:version.")]
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]


class Live(BaseModel):
    live: bool = True


class Ready(BaseModel):
    ready: bool = True


class Server(BaseModel):
    """Who answers, and what beside the protocol's core."""

    name: str
    version: str
    extensions: list[str]


class TensorView(BaseModel):
    """A tensor that a model takes or gives."""

    name: str
    datatype: str = Field(description="Of numbers, any other datatype of numbers is taken as well.")
    shape: list[int] = Field(description="-1: any. The first axis: the items.")


class ModelMetadata(BaseModel):
    """The tensors of a model. Fields of an item may be left out where its task says so; `item` stands for all."""

    name: str
    versions: list[str] = Field(description="Newest first.")
    platform: str = Field(examples=["cellgate_sentiment"])
    inputs: list[TensorView]
    outputs: list[TensorView]


class TensorAnswer(TensorView):
    """A tensor that is answered."""

    shape: list[int]
    parameters: dict[str, str | int] | None = Field(
        None, description="`names` of an axis and `lengths` of padded items, as JSON; `binary_data_size`."
    )
    data: list[Any] | None = Field(None, description="Its elements, row by row.")


class InferResponse(BaseModel):
    """What a model answers."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[TensorAnswer]


async def live_of(model: ModelName) -> Reference:
    """The version that a name or a reference means now."""
    return Reference.parse(model)


async def numbered(model: ModelName, version: Number) -> Reference:
    """A version by its number."""
    return Reference.parse(f"{model}:{version}")


PLACES: tuple[tuple[str, Callable[..., Awaitable[Reference]]], ...] = (
    ("/models/{model}", live_of),
    ("/models/{model}/versions/{version}", numbered),
)
"""The two addresses of a version."""


def router() -> APIRouter:
    """The server, its models and inference."""
    made = APIRouter(prefix=PREFIX, tags=["open inference protocol"])
    made.add_api_route("", server, response_model=Server)
    made.add_api_route("/health/live", live, response_model=Live)
    made.add_api_route("/health/ready", ready, response_model=Ready, responses={503: {"model": Ready}})
    for path, reference in PLACES:
        made.add_api_route(
            path,
            _metadata(reference),
            response_model=ModelMetadata,
            responses=responses(404, under=PREFIX),
            dependencies=[READING],
        )
        made.add_api_route(
            f"{path}/infer",
            _infer(reference),
            methods=["POST"],
            response_model=InferResponse,
            response_model_exclude_none=True,
            responses={**responses(404, 504, under=PREFIX), 200: {"content": {"application/octet-stream": BYTES}}},
            openapi_extra=documented(InferRequest, "sentiment", EXAMPLE, required=True),
        )
    return made


ENDS = "Bytes of the JSON, where the bytes of tensors follow it."
BYTES = {"schema": {"type": "string", "format": "binary"}}


def documented(shape: type[BaseModel], name: str, example: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    """A body that is read whatever media type it says, for the OpenAPI document."""
    content = {"schema": inlined(shape.model_json_schema()), "examples": {name: {"value": example}}}
    return {"requestBody": {"required": required, "content": {"application/json": content}}}


async def server(use: Use) -> Server:
    """The name of the server, its version and its extensions."""
    return Server(name="cellgate", version=use.version, extensions=EXTENSIONS)


async def live() -> Live:
    """The process answers."""
    return Live()


def ready(use: Use) -> JSONResponse:
    """Whether requests can be answered; `/health/ready` says why not."""
    good = all(check == "ok" for check in use.checks().values())
    return JSONResponse({"ready": good}, status_code=200 if good else 503)


def _metadata(reference: Callable[..., Awaitable[Reference]]) -> Callable[..., Any]:
    def metadata(wanted: Annotated[Reference, Depends(reference)], use: Use) -> ModelMetadata:
        version = use.registry.resolve(wanted)
        every = use.registry.versions(version.model, page_size=1000, page_token="").items
        return ModelMetadata(
            name=version.model,
            versions=[str(each.version) for each in every],
            platform=f"cellgate_{version.task}",
            inputs=_views(columns.inputs(version.task)),
            outputs=_views(columns.outputs(version.task)),
        )

    metadata.__doc__ = "The tensors that a model takes and gives, and its versions."
    return metadata


def _views(found: Columns) -> list[TensorView]:
    return [TensorView(name=each.name, datatype=each.datatype, shape=each.shape) for each in found.values()]


def _infer(reference: Callable[..., Awaitable[Reference]]) -> Callable[..., Awaitable[Response]]:
    async def infer(
        call: Bearing,
        wanted: Annotated[Reference, Depends(reference)],
        header: Annotated[str | None, Header(alias=HEADER, description=ENDS)] = None,
        coding: Annotated[str | None, Header(alias="Content-Encoding", description="gzip or deflate.")] = None,
        priority: Annotated[str | None, Header(description=PRIORITY)] = None,
    ) -> Response:
        body = await call.request.body()
        if coding is not None and coding.lower() != "identity":
            most = call.use.settings.max_json
            body = await run_in_threadpool(lambda: inflated(body, coding, most=most))
        bulk = priority is not None and bool(BULK.search(priority))
        return await call.answer(_answered(call, wanted, body, header, bulk=bulk))

    infer.__doc__ = "Predict: tensors in, tensors out, as JSON or as bytes after it."
    return infer


async def _answered(call: Call, wanted: Reference, body: bytes, header: str | None, *, bulk: bool) -> Response:
    loaded, predictions = call.use.loaded, call.use.predictions
    request, sent = await predictions.read(lambda whole: read(whole, header), body)
    ends = time.monotonic() + min(call.seconds, request.seconds or call.seconds)
    served = await loaded.hold(wanted, deadline=ends)
    try:
        task, name, version = served.version.task, served.version.model, served.version.version
        params = items.params(task, request.params)
        most = call.use.settings.max_inputs
        inputs = await predictions.read(lambda _: items.items(task, sent, most=most), body)
        if (left := ends - time.monotonic()) <= 0:
            raise late()
        asking = Asking(caller=call.caller, seconds=left, bulk=bulk, bytes=len(body))
        _, outputs = await predictions.predict(task, inputs, model=f"{name}:{version}", params=params, asking=asking)
    except Invalid as error:
        raise items.named(error) from None
    finally:
        loaded.done(served)
    made = answer.tensors(task, outputs, [each.name for each in request.outputs])
    binary = [each.parameters.binary_data for each in request.outputs] or [None] * len(made)
    head = {"model_name": name, "model_version": str(version), **({} if request.id is None else {"id": request.id})}
    whole, length = answer.written(head, made, [request.binary if raw is None else raw for raw in binary])
    if length is None:
        return Response(whole, media_type="application/json")
    return Response(whole, media_type="application/octet-stream", headers={HEADER: str(length)})
