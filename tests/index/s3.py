"""A real S3 API on loopback (moto), and stores on it. `server` lives as long as the test run of one module."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from penstock.index.stores.stores import open_store

_buckets = itertools.count()
KEYS = {"AWS_ACCESS_KEY_ID": "TESTKEYID", "AWS_SECRET_ACCESS_KEY": "test-secret-value", "AWS_REGION": "us-east-1"}


class S3Server:
    """`url` is where it listens; `environ` what a client's environment must say."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
        _decide_one_at_a_time()
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        _, port = self._server.get_host_and_port()
        self.url = f"http://127.0.0.1:{port}"

    @property
    def environ(self) -> dict[str, str]:
        return {**KEYS, "AWS_ENDPOINT_URL": self.url}

    def bucket(self) -> str:
        """Make a bucket and return its name."""
        name = f"bucket-{next(_buckets)}"
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/{name}", method="PUT")).close()
        return name

    @contextlib.contextmanager
    def checking_keys(self) -> Iterator[None]:
        """Meanwhile the server authenticates every request, and knows no key at all."""
        try:
            self._free_requests("0")
            yield
        finally:
            self._free_requests("inf")

    def _free_requests(self, count: str) -> None:
        url, kind = f"{self.url}/moto-api/reset-auth", {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(url, count.encode(), kind, method="POST")).close()

    def stop(self) -> None:
        self._server.stop()


def _decide_one_at_a_time() -> None:
    """moto looks whether a key is there and puts the value in two steps: two of its threads may both find nothing."""
    from moto.s3.responses import S3Response

    if not hasattr(S3Response, "penstock_one"):
        one, put = threading.Lock(), S3Response.put_object

        def put_object(self: S3Response, *given: Any, **named: Any) -> Any:
            with one:
                return put(self, *given, **named)

        S3Response.put_object, S3Response.penstock_one = put_object, one


def token() -> str:
    return os.urandom(8).hex()


def store_at(url: str, environ: dict[str, str]):
    return open_store(url, token=token, environ=environ)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    running = S3Server()
    yield running
    running.stop()
