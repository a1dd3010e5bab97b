"""Routes of pretrained word vectors. Knows HTTP and the use cases; no table, no format."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from app.api.datasets import NAME
from app.api.deps import PageSize, PageToken, require, services
from app.api.problems import responses
from app.api.upload import received
from app.services.pages import Page
from app.services.vectors import VectorView

router = APIRouter(prefix="/v1/vectors", tags=["word vectors"])

BINARY = {"schema": {"type": "string", "format": "binary"}}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "text/plain": {"schema": {"type": "string"}, "example": "good 0.1 0.9\nbad 0.8 -0.2\n"},
            "application/zip": BINARY,
            "application/octet-stream": BINARY,
        },
    }
}


@router.post("", status_code=201, openapi_extra=BODY, responses=responses(408, 409), dependencies=[require("train")])
async def post_vectors(
    request: Request,
    response: Response,
    name: Annotated[str, Query(pattern=NAME, description="What `config.vectors` will call it.", examples=["glove"])],
) -> VectorView:
    """Upload word vectors: text of word2vec or GloVe, or a zip of `words.json` and `vectors.npy`."""
    known = services(request)
    with known.datasets.incoming() as folder:
        upload = await received(request, folder / "upload", limit=known.settings.max_body)
        view = await run_in_threadpool(
            known.vectors.create, upload.path, name=name, bytes=upload.bytes, digest=upload.digest
        )
    response.headers["Location"] = f"/v1/vectors/{view.name}"
    return view


@router.get("", responses=responses(), dependencies=[require("train")])
def list_vectors(request: Request, page_size: PageSize = 50, page_token: PageToken = "") -> Page[VectorView]:
    """Word vectors, newest first."""
    return services(request).vectors.list(page_size=page_size, page_token=page_token)


@router.get("/{name}", responses=responses(404), dependencies=[require("train")])
def get_vectors(request: Request, name: str) -> VectorView:
    """The word vectors of one name."""
    return services(request).vectors.get(name)


@router.delete("/{name}", status_code=204, responses=responses(404, 409), dependencies=[require("train")])
def delete_vectors(request: Request, name: str) -> None:
    """Forget word vectors."""
    services(request).vectors.delete(name)
