"""Starts a real S3 server for the tests: moto's, as a process on the loopback. Knows no blob of ours."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3

STARTING = 60.0
"""Seconds that the server may take to answer."""


@dataclass(frozen=True)
class Store:
    """A running server."""

    process: subprocess.Popen[bytes]
    environment: dict[str, str]
    """What a client needs to know, by the usual names."""

    def bucket(self) -> str:
        """The address of a new bucket."""
        name = f"b{uuid.uuid4().hex}"
        self._client().create_bucket(Bucket=name)
        return f"s3://{name}/cellgate"

    def keys(self, address: str) -> list[str]:
        """Every key in a bucket."""
        bucket = address.split("/")[2]
        return [found["Key"] for found in self._client().list_objects_v2(Bucket=bucket).get("Contents", [])]

    def overwrite(self, address: str, content: bytes) -> None:
        """Put other bytes where an object lies."""
        bucket, key = address.removeprefix("s3://").split("/", 1)
        self._client().put_object(Bucket=bucket, Key=key, Body=content)

    def _client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            region_name=self.environment["AWS_DEFAULT_REGION"],
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
        )


@contextlib.contextmanager
def serving() -> Iterator[Store]:
    """A server that answers; it is ended on leaving."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    store = Store(
        process,
        {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "known-to-the-tests-alone",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        },
    )
    try:
        _await(store, port)
        yield store
    finally:
        process.kill()
        process.wait(10)


def _await(store: Store, port: int) -> None:
    until = time.monotonic() + STARTING
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if store.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the S3 server on port {port} did not start") from None
            time.sleep(0.05)
        else:
            return
