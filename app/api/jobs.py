"""Jobs over HTTP: submit, watch, steer. Translates between requests and the use cases; knows no table."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Body, Header, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from app.api.deps import ONCE, PageSize, PageToken, Use, require
from app.api.download import streamed
from app.api.problems import responses
from app.errors import Flaw, Invalid
from app.services.answers import Answer
from app.services.jobs import JobView, State
from app.services.pages import Page
from app.services.requests import JobRequest

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

SILENCE = 15.0
"""Seconds after which a comment keeps a silent stream open."""

EXAMPLE = {
    "train": {
        "summary": "Train a sentiment model",
        "value": {
            "kind": "train",
            "task": "sentiment",
            "dataset": "reviews",
            "model": "reviews",
            "config": {"epochs": 5},
        },
    },
    "continue": {
        "summary": "Begin with the weights of a version",
        "value": {
            "kind": "train",
            "task": "sentiment",
            "dataset": "reviews-2026",
            "model": "reviews",
            "warm_start": "reviews@production",
        },
    },
    "evaluate": {
        "summary": "Score a version on a part of a data set",
        "value": {"kind": "evaluate", "model": "reviews@production", "dataset": "reviews", "split": "test"},
    },
    "tune": {
        "summary": "Find the best options",
        "value": {
            "kind": "tune",
            "task": "sentiment",
            "dataset": "reviews",
            "model": "reviews",
            "search": {"hidden": [64, 128, 256], "lr": {"low": 1e-4, "high": 1e-2, "log": True}},
            "trials": 20,
        },
    },
    "predict": {
        "summary": "Answer every row of a data set",
        "value": {"kind": "predict", "model": "reviews@production", "dataset": "reviews-2026"},
    },
    "compare": {
        "summary": "Compare two cells",
        "value": {
            "kind": "compare",
            "task": "sentiment",
            "dataset": "reviews",
            "model": "reviews",
            "cells": ["lstm", "gru"],
            "seeds": 5,
        },
    },
}


class MetricsView(BaseModel):
    """What one epoch measured."""

    epoch: int
    step: int
    at: datetime
    values: dict[str, float]


class LogView(BaseModel):
    """One line of a job's log."""

    at: datetime
    level: str
    text: str


class MetricsList(BaseModel):
    items: list[MetricsView]


class LogList(BaseModel):
    items: list[LogView]


@router.post("", status_code=202, response_model=JobView, responses=responses(404, 409))
def submit(
    request: Annotated[JobRequest, Body(openapi_examples=EXAMPLE)],
    use: Use,
    caller: Annotated[str, require("train")],
    idempotency_key: Annotated[str | None, Header(max_length=200, description=ONCE)] = None,
) -> Response:
    """Queue a training, a comparison of cells, a study, an evaluation or a bulk prediction. `Location` names the job;
    watch it there, or live under `/events`.

    With `warm_start` a training begins with the weights of a version of the same task, `cell` and sizes. What is
    counted is counted anew from the data set (words, labels, scales); weights are carried over where they fit, those
    of words and labels one by one, and the log says which. The start is judged as epoch 0.

    An evaluation gives the loss and the task's metrics of a version on one part; it registers nothing.

    A bulk prediction answers the rows of a data set, or of its part `split`, with the answers of the task's own route.
    Its result, `GET /v1/jobs/{id}/result`, is JSON Lines in the order of the rows: `{"row": n, "output": {...}}`, or
    `{"row": n, "error": "..."}` where a row cannot be answered; rows count from 0 over the whole data set. A `seed`
    among the task's params is drawn when the job is made, unless it is given.

    A comparison is a parent: its trainings are child jobs, one for each cell and seed, which all workers share.
    All take the same data, splits and epochs (`patience` is off unless `config` sets it). Its result is a table:
    for each cell the mean, spread and every seed's score of the task's metric, loss, parameters and seconds, and
    a paired test of each two cells. A training that failed is told in the table; only if all failed does the
    comparison. The best seed of the best cell, both by validation score, becomes a version of `model`.

    A study (`tune`) looks for the best `config`: each trial is a child job as well, which learns from the trials
    before it what to try (TPE) and is given up where it does worse than their median. Its result, kept with the
    version it registers, is a table: what each trial tried, its score by validation, state and seconds, and how much
    each option mattered. On one worker the same `seed` and data give the same study again."""

    def work() -> Answer:
        job: JobView = use.jobs.submit(request, key=caller or None)
        return Answer(status=202, body=job.model_dump(mode="json"), location=f"/v1/jobs/{job.id}")

    digest = hashlib.sha256(request.model_dump_json().encode()).hexdigest()
    answer: Answer = use.answers.once(idempotency_key, route="/v1/jobs", owner=caller, digest=digest, work=work)
    return JSONResponse(answer.body, status_code=answer.status, headers={"Location": answer.location or ""})


@router.get("", responses=responses(), dependencies=[require("train")])
def jobs(
    use: Use,
    state: State | None = None,
    kind: Annotated[str | None, Query(max_length=16)] = None,
    task: Annotated[str | None, Query(max_length=64)] = None,
    model: Annotated[str | None, Query(max_length=64)] = None,
    parent: Annotated[str | None, Query(max_length=64, description="Show the children of this job.")] = None,
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> Page[JobView]:
    """Jobs, newest first. Children of a job are listed only where `parent` names it; its `children` tell of them."""
    given = {"state": state, "kind": kind, "task": task, "model": model, "parent": parent}
    filters = {name: value for name, value in given.items() if value is not None}
    found: Page[JobView] = use.jobs.list(filters=filters, page_size=page_size, page_token=page_token)
    return found


@router.get("/{id}", responses=responses(404), dependencies=[require("train")])
def job(id: str, use: Use) -> JobView:  # noqa: A002
    """One job."""
    found: JobView = use.jobs.get(id)
    return found


@router.delete("/{id}", status_code=204, responses=responses(404, 409), dependencies=[require("train")])
def delete(id: str, use: Use) -> None:  # noqa: A002
    """Forget an ended job, and its children."""
    for blob in use.jobs.delete(id):
        use.registry.forget(blob)


def _steering(verb: str, summary: str) -> None:
    @router.post(
        f"/{{id}}/{verb}", name=verb, summary=summary, responses=responses(404, 409), dependencies=[require("train")]
    )
    def steer(id: str, use: Use) -> JobView:  # noqa: A002
        found: JobView = getattr(use.jobs, verb)(id)
        return found


for _verb, _summary in {
    "cancel": "Stop a job and its children for good, between two batches.",
    "pause": "Stop a job and its children for a while.",
    "resume": "Go on with a paused or cancelled job, from its latest checkpoint.",
    "retry": "Begin a failed or cancelled job again, from its start.",
}.items():
    _steering(_verb, _summary)


@router.get("/{id}/metrics", responses=responses(404), dependencies=[require("train")])
def metrics(id: str, use: Use) -> MetricsList:  # noqa: A002
    """What each epoch measured."""
    found = use.jobs.events(id, kinds=["metrics"], limit=100_000)
    epochs = {event.data["epoch"]: event for event in found}  # one that was begun again counts once
    return MetricsList(items=[MetricsView(at=event.at, **event.data) for event in epochs.values()])


@router.get("/{id}/logs", responses=responses(404), dependencies=[require("train")])
def logs(id: str, use: Use) -> LogList:  # noqa: A002
    """What the job said."""
    found = use.jobs.events(id, kinds=["log"], limit=100_000)
    return LogList(items=[LogView(at=event.at, **event.data) for event in found])


@router.get(
    "/{id}/result",
    response_class=Response,
    responses={
        200: {"content": {"application/x-ndjson": {}}},
        304: {"description": "Not modified."},
        **responses(404, 409),
    },
    dependencies=[require("train")],
)
def result(id: str, use: Use, if_none_match: Annotated[str | None, Header(max_length=1000)] = None) -> Response:  # noqa: A002
    """What a bulk prediction found, a JSON object a line. `ETag` is the SHA-256 of the lines."""
    lines, file = use.results.open(id)
    return streamed(
        file,
        lines.digest,
        size=lines.bytes,
        filename=f"{id}.jsonl",
        media_type="application/x-ndjson",
        if_none_match=if_none_match,
    )


def _picture(form: Literal["png", "svg"], media_type: str) -> None:
    @router.get(
        f"/{{id}}/plot.{form}",
        name=f"plot {form}",
        response_class=Response,
        responses={200: {"content": {media_type: {}}}, **responses(404, 409)},
        dependencies=[require("train")],
    )
    def plot(id: str, use: Use) -> Response:  # noqa: A002
        """The training history as a picture: the loss, and the task's metric, over the epochs."""
        drawn: bytes = use.pictures.history(id, form)
        return Response(drawn, media_type=media_type, headers={"Cache-Control": "no-cache"})


_picture("png", "image/png")
_picture("svg", "image/svg+xml")


@router.get(
    "/{id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}, **responses(404)},
    dependencies=[require("train")],
)
async def events(
    id: str,  # noqa: A002
    request: Request,
    use: Use,
    last_event_id: Annotated[str | None, Header(max_length=40)] = None,
) -> StreamingResponse:
    """Live server-sent events `state`, `progress`, `metrics`, `log`; `Last-Event-ID` resumes.

    The stream ends after the final state."""
    if last_event_id is not None and not re.fullmatch("[0-9]{1,18}", last_event_id):
        flaw = Flaw(detail="Last-Event-ID must be the id of an event", pointer="/last-event-id")
        raise Invalid(flaw.detail, errors=[flaw])
    await run_in_threadpool(use.jobs.get, id)  # a job that is not there is a 404, before the stream begins
    stream = _stream(id, int(last_event_id or 0), request, use)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


async def _stream(id: str, after: int, request: Request, use: Any) -> AsyncIterator[bytes]:  # noqa: A002
    async for found in use.feeds.follow(id, after=after, silence=SILENCE):
        if await request.is_disconnected():
            return
        for event in found:
            data = orjson.dumps({"at": event.at.isoformat().replace("+00:00", "Z"), **event.data}).decode()
            yield f"id: {event.id}\nevent: {event.kind}\ndata: {data}\n\n".encode()
        if not found:
            yield b": still here\n\n"
