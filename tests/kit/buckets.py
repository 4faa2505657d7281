"""An S3 server on loopback with one bucket."""

from collections.abc import Iterator
from contextlib import contextmanager

import boto3  # type: ignore[import-untyped]
import pytest
import s3fs  # type: ignore[import-untyped]
from moto.server import ThreadedMotoServer

from tests.kit.ports import free_port

_BUCKET = "states"


@contextmanager
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty bucket, which `fsspec` reaches by the environment, as at a site."""
    port = free_port()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    url = f"http://127.0.0.1:{port}"
    settings = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
        "AWS_MAX_ATTEMPTS": "1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3", endpoint_url=url).create_bucket(Bucket=_BUCKET)
    try:
        yield f"s3://{_BUCKET}"
    finally:
        server.stop()
        s3fs.S3FileSystem.clear_instance_cache()
