"""Every setting, with its default and its bounds. Read from the environment once, in a root, and handed down."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.faults import said

PREFIX = "CELLGATE_"

SECRET = {"CELLGATE_DATABASE_URL", "CELLGATE_BLOBS"}
"""Settings that may hold a password: what was given is not repeated."""

MiB = 1024 * 1024


class WrongSetting(Exception):
    """A setting that is unknown or out of its bounds; its text is a sentence for the operator."""


MOST_INPUTS = 10_000
"""Items in one predict request, whatever the setting says: more are refused before one of them is looked at."""


class Settings(BaseModel):
    """Settings of the API, the workers and the commands. Each is `CELLGATE_<NAME>` in the environment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", description="Address to listen on. Any but loopback needs keys.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    home: Path = Field(Path("var"), description="Directory of the embedded database, the blobs and the caches.")
    database_url: str | None = Field(
        None,
        pattern=r"^(postgres(ql)?(\+psycopg)?|sqlite)://",
        description="`postgresql://...`; default: SQLite in the home.",
    )
    blobs: str | None = Field(
        None,
        description="Address of the blob store: `s3://bucket/prefix` (extra `s3`; keys and endpoint by the usual "
        "`AWS_` variables), or any that fsspec knows; default: `file://<home>/blobs`.",
    )
    processes: int = Field(
        1, ge=1, le=64, description="API processes behind the port, each with models, queues and sessions of its own."
    )
    workers: int = Field(1, ge=0, le=64, description="Worker processes that `serve` supervises.")
    slots: int = Field(1, ge=1, le=64, description="Trainings that one worker runs at once.")
    executor: Literal["local", "ray"] = Field(
        "local",
        description="Where jobs run: child processes of the worker, or the Ray cluster at `RAY_ADDRESS` (extra `ray`).",
    )
    threads: int = Field(
        1, ge=1, le=256, description="Threads of arithmetic of one stream, and of a worker's trainings together."
    )
    streams: int | None = Field(
        None, ge=1, le=256, description="Forward passes that run at once; default: one on each core."
    )
    device: str = Field("auto", description="Where to serve and train: `auto`, `cpu`, `mps`, `cuda`, `cuda:1`.")
    serve_precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="Of matrix products where models are served by a GPU that multiplies in it; else fp32."
    )
    device_budget: int | None = Field(
        None,
        ge=1,
        description="Bytes that loaded models and their forward passes may take on a device; default: what is free.",
    )
    max_body: int = Field(1024 * MiB, ge=1024, description="Bytes of an uploaded file or artifact at most.")
    max_json: int = Field(16 * MiB, ge=1024, description="Bytes of any other request body at most.")
    max_inputs: int = Field(256, ge=1, le=MOST_INPUTS, description="Items in one predict request at most.")
    max_queue: int = Field(1024, ge=1, description="Items that may wait for one model.")
    max_jobs: int = Field(1000, ge=1, description="Jobs that may be queued at once.")
    max_sessions: int = Field(10_000, ge=1, description="Streaming sessions at once; the least recently used goes.")
    session_bytes: int = Field(
        256 * MiB, ge=1, description="Bytes that the states of all sessions may take; the least recently used goes."
    )
    session_seconds: float = Field(1800.0, gt=0, description="Time after its last use when a session is over.")
    request_seconds: float = Field(30.0, gt=0, description="Deadline of a predict request that names none.")
    upload_seconds: float = Field(600.0, gt=0, description="Time an upload may take.")
    lease_seconds: float = Field(15.0, gt=0, description="A worker silent for longer has lost its job.")
    checkpoint_days: float = Field(7.0, ge=0, description="Days a cancelled job may still be resumed.")
    event_days: float = Field(90.0, ge=0, description="Days an ended job keeps its metrics and its log.")
    poll_seconds: float = Field(0.25, gt=0, description="How often an idle worker looks for a job.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level logged.")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`auto`: colours on a terminal, else JSON."
    )
    allow_keyless: bool = Field(False, description="`true`: listen on any address without keys. Not for production.")
    metrics_key: bool = Field(False, description="`true`: `/metrics` needs a key as well.")

    @property
    def database(self) -> str:
        """The database's URL."""
        return self.database_url or f"sqlite:///{self.home.resolve() / 'cellgate.db'}"

    @property
    def blob_store(self) -> str:
        """The blob store's address."""
        return self.blobs or f"file://{self.home.resolve() / 'blobs'}"

    @cached_property
    def loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of the environment. Raises `WrongSetting`, in a sentence that names the variable."""
    given = {
        name[len(PREFIX) :].lower(): value
        for name, value in (os.environ if environment is None else environment).items()
        if name.startswith(PREFIX) and value != "" and name != "CELLGATE_DATA"
    }
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + str(first["loc"][0]).upper()
        if first["type"] == "extra_forbidden":
            known = ", ".join(PREFIX + field.upper() for field in Settings.model_fields)
            raise WrongSetting(f"unknown setting {name}; known: {known}") from None
        if name in SECRET:
            raise WrongSetting(f"{name}: {first['msg'].removeprefix('Value error, ')}") from None  # never its value
        raise WrongSetting(f"{name}={first['input']!r}: {said(first)}") from None
