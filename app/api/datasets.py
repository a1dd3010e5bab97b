"""Routes of data sets. Knows HTTP and the use cases; no table, no format."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from app.api.deps import ONCE, PageSize, PageToken, Use, require
from app.api.problems import responses
from app.api.upload import Upload, received
from app.errors import Flaw, Invalid
from app.services.answers import Answer
from app.services.datasets import DatasetView
from app.services.intake import Of
from app.services.pages import Page
from models import archive
from models.readers import READERS, SUFFIXES

router = APIRouter(prefix="/v1/datasets", tags=["data sets"])

NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-ndjson": {  # first, for a page shows that one
                "schema": {"type": "string"},
                "example": '{"text": "I loved it", "label": "positive"}\n{"text": "A bore", "label": "negative"}\n',
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}},
                    "required": ["file"],
                }
            },
        }
        | {
            media_type: {"schema": {"type": "string", "format": "binary"}}
            for media_type in (*READERS, archive.MEDIA_TYPE)
            if media_type != "application/x-ndjson"
        },
    }
}


@router.post("", status_code=201, response_model=DatasetView, openapi_extra=BODY, responses=responses(408, 409))
async def post_dataset(
    request: Request,
    use: Use,
    caller: Annotated[str, require("train")],
    task: Annotated[str, Query(max_length=64, description="The task it is for.", examples=["sentiment"])],
    name: Annotated[
        str | None, Query(pattern=NAME, description="Its name; default: its id.", examples=["reviews"])
    ] = None,
    seed: Annotated[int, Query(ge=0, le=2**31 - 1, description="Seed of the split, where one is made.")] = 0,
    of: Annotated[
        Of, Query(description="`rows` have answers, to learn from and to be scored by; `items` have none, to be asked.")
    ] = "rows",
    idempotency_key: Annotated[str | None, Header(max_length=200, description=ONCE)] = None,
) -> Response:
    """Upload a file of rows: the body, or `file` of a multipart form. A bad row refuses it, by line.

    With `of=items` it holds what the task's own route is asked, for `predict` jobs: answers may be missing, and are not
    kept."""
    with use.datasets.incoming() as folder:
        upload = await received(request, folder / "upload", limit=use.settings.max_body)
        media_type = _media_type(upload)

        def work() -> Answer:
            view = use.datasets.create(
                upload.path,
                task=task,
                name=name,
                media_type=media_type,
                bytes=upload.bytes,
                digest=upload.digest,
                seed=seed,
                of=of,
            )
            return Answer(status=201, body=view.model_dump(mode="json"), location=f"/v1/datasets/{view.id}")

        asked = hashlib.sha256(repr((task, name, seed, of, media_type, upload.digest)).encode()).hexdigest()
        once = partial(use.answers.once, idempotency_key, route="/v1/datasets", owner=caller, digest=asked, work=work)
        answer: Answer = await run_in_threadpool(once)
    return JSONResponse(answer.body, status_code=answer.status, headers={"Location": answer.location or ""})


@router.get("", responses=responses(), dependencies=[require("train")])
def list_datasets(
    use: Use,
    task: Annotated[str | None, Query(max_length=64, description="Those of one task alone.")] = None,
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> Page[DatasetView]:
    """Data sets, newest first."""
    found: Page[DatasetView] = use.datasets.list(task=task, page_size=page_size, page_token=page_token)
    return found


@router.get("/{id}", responses=responses(404), dependencies=[require("train")])
def get_dataset(use: Use, id: str) -> DatasetView:  # noqa: A002  the wire's own word
    """One data set, by its id, or the newest of a name."""
    found: DatasetView = use.datasets.get(id)
    return found


@router.get("/{id}/rows", responses=responses(404), dependencies=[require("train")])
def get_rows(
    use: Use,
    id: str,  # noqa: A002
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> Page[dict[str, Any]]:
    """Its rows in the file's order, each with its `split`."""
    found: Page[dict[str, Any]] = use.datasets.rows(id, page_size=page_size, page_token=page_token)
    return found


@router.delete("/{id}", status_code=204, responses=responses(404, 409), dependencies=[require("train")])
def delete_dataset(use: Use, id: str) -> None:  # noqa: A002
    """Forget a data set; refused while a job needs it."""
    use.datasets.delete(id)


def _media_type(upload: Upload) -> str:
    """What the caller says the file is, or what its name says where the caller does not know."""
    known = (*READERS, archive.MEDIA_TYPE)
    suffixes = {**SUFFIXES, ".zip": archive.MEDIA_TYPE}
    if upload.media_type in known and not (upload.media_type == "text/plain" and upload.suffix in suffixes):
        return upload.media_type
    if upload.suffix in suffixes:
        return suffixes[upload.suffix]
    detail = f"cannot read '{upload.media_type[:80]}'; name one of these as Content-Type: {', '.join(known)}"
    raise Invalid(detail, errors=[Flaw(detail=detail, pointer="/Content-Type")])
