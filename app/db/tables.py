"""The tables. Knows columns and constraints, no query. Times are UTC; JSON columns hold data, never code."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    false,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Json = dict[str, Any]

BIG = BigInteger().with_variant(Integer, "sqlite")
"""A 64-bit counter; SQLite counts only in INTEGER."""


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite, which forgets the zone, gets it back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Table(DeclarativeBase):
    """Names every constraint, so that both databases and alembic agree on them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime(), Json: JSON, list[Any]: JSON, str: String(255)}


class Dataset(Table):
    """An uploaded, validated file. Its rows lie in a blob of canonical JSON Lines, each with its `split`."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(index=True)
    task: Mapped[str]
    rows: Mapped[int]
    splits: Mapped[Json]
    split_seed: Mapped[int | None]
    """The seed of a split made here; null where the file brought its own."""
    digest: Mapped[str]
    """SHA-256 of the bytes that were sent."""
    blob: Mapped[str]
    """Digest of the canonical rows in the blob store."""
    bytes: Mapped[int] = mapped_column(BigInteger)
    stats: Mapped[Json]
    warnings: Mapped[list[Any]]
    created_at: Mapped[datetime]


class VectorFile(Table):
    """Uploaded pretrained word vectors, named by `config.vectors`."""

    __tablename__ = "vectors"

    name: Mapped[str] = mapped_column(primary_key=True)
    words: Mapped[int]
    width: Mapped[int]
    digest: Mapped[str]
    blob: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]


class Job(Table):
    """One piece of background work. Written by its owner alone: every write names the fencing token."""

    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_claim", "state", "priority", "created_at"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    task: Mapped[str | None]
    state: Mapped[str] = mapped_column(String(16))
    priority: Mapped[int]
    request: Mapped[Json]
    dataset: Mapped[str | None] = mapped_column(ForeignKey("datasets.id"), index=True)
    model: Mapped[str | None]
    key: Mapped[str | None]
    """Id of the key that submitted it."""
    parent: Mapped[str | None] = mapped_column(index=True)
    """The job whose child this one is."""
    waits: Mapped[bool] = mapped_column(server_default=false())
    """A parent waits until its children have ended, and no worker claims it before."""
    needs_device: Mapped[str | None] = mapped_column(String(16))
    """The device, or the kind of device, that it must run on."""
    needs_memory: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """Bytes that must be free there."""
    artifact: Mapped[str | None] = mapped_column(index=True)
    """Digest of what it made: of a child, its artifact, kept until the parent has chosen one; of a bulk prediction,
    its lines."""
    progress: Mapped[Json]
    metrics: Mapped[Json]
    attempt: Mapped[int]
    strikes: Mapped[int] = mapped_column(server_default="0")
    """Times in a row that its worker or its process was lost, or its files were out of reach, and nothing had been
    laid down since the last time."""
    deaths: Mapped[int] = mapped_column(server_default="0")
    """Those of them when its own process died by itself."""
    checkpoint: Mapped[Json | None]
    """The latest: `{blob, bytes, epoch, step, at}`; or what was laid down piece by piece, `{pieces, ..., at}`."""
    resumed_from: Mapped[Json | None]
    """Place of the checkpoint that the latest attempt went on from: `{epoch, step}` or `{row}`."""
    fence: Mapped[int] = mapped_column(BigInteger)
    """Grows with each claim; a write with an older one changes nothing."""
    worker: Mapped[str | None]
    device: Mapped[str | None]
    not_before: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    error: Mapped[Json | None]
    result: Mapped[Json | None]


class JobEvent(Table):
    """What happened to a job, in order: the one source of transitions, metrics, logs and live events."""

    __tablename__ = "job_events"
    __table_args__ = (Index("ix_job_events_job_kind", "job", "kind", "id"),)

    id: Mapped[int] = mapped_column(BIG, primary_key=True, autoincrement=True)
    job: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(16))
    """`state`, `progress`, `metrics` or `log`."""
    at: Mapped[datetime]
    data: Mapped[Json]


class Worker(Table):
    """A worker process that is, or was, alive."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    pid: Mapped[int]
    devices: Mapped[list[Any]]
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]


class Model(Table):
    """A name under which versions are registered."""

    __tablename__ = "models"

    name: Mapped[str] = mapped_column(primary_key=True)
    task: Mapped[str] = mapped_column(index=True)
    made: Mapped[int] = mapped_column(server_default="0")
    """Versions ever made: the number of one that was deleted never comes back."""
    created_at: Mapped[datetime]


class Version(Table):
    """A trained model, immutable: its artifact, and where it came from."""

    __tablename__ = "versions"

    model: Mapped[str] = mapped_column(ForeignKey("models.name"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    task: Mapped[str]
    config: Mapped[Json]
    metrics: Mapped[Json]
    dataset: Mapped[Json | None]
    """`{id, digest}` of the data; the data set itself may be gone."""
    job: Mapped[str | None] = mapped_column(unique=True)
    """The job that made it, at most one version each: a job run twice registers once."""
    study: Mapped[Json | None]
    """The table of the study whose best trial it is."""
    blob: Mapped[str]
    """Digest of the artifact's zip in the blob store."""
    bytes: Mapped[int] = mapped_column(BigInteger)
    parameters: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str]
    weights_digest: Mapped[str]
    code_version: Mapped[str]
    created_at: Mapped[datetime]


class Alias(Table):
    """A name that points at one version of a model."""

    __tablename__ = "aliases"

    model: Mapped[str] = mapped_column(ForeignKey("models.name"), primary_key=True)
    alias: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int]


class AliasMove(Table):
    """One entry of the history: what an alias pointed at from then on, and who moved it."""

    __tablename__ = "alias_moves"

    id: Mapped[int] = mapped_column(BIG, primary_key=True, autoincrement=True)
    model: Mapped[str] = mapped_column(ForeignKey("models.name"), index=True)
    alias: Mapped[str]
    version: Mapped[int | None]
    previous: Mapped[int | None]
    at: Mapped[datetime]
    by: Mapped[str]
    reason: Mapped[str] = mapped_column(Text)


class TaskDefault(Table):
    """The model that a task's route answers with when the request names none."""

    __tablename__ = "task_defaults"

    task: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(ForeignKey("models.name"))


class Key(Table):
    """An API key, kept as a hash."""

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    hash: Mapped[str] = mapped_column(unique=True)
    scopes: Mapped[list[Any]]
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class StoredAnswer(Table):
    """The answer to a request that carried an `Idempotency-Key`; without a status while in flight."""

    __tablename__ = "stored_answers"

    route: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str]
    status: Mapped[int | None]
    body: Mapped[Json | None]
    location: Mapped[str | None]
    created_at: Mapped[datetime]
