"""A bucket of an S3 API (moto's server) that checks signatures: thousands of keys, odd names, changes, an outage."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.index.s3 import KEYS, S3Server
from tests.proof.real.checks import Checks
from tests.proof.real.course import changed, first, outage, silent
from tests.proof.real.desk import NAME, Desk
from tests.proof.real.line import Line
from tests.proof.real.prose import prose

OBJECTS, MORE = 2500, 500
ODD = (
    "a//b.txt",
    "/leading.txt",
    "trailing space .txt",
    "ü/ö ☃.md",
    "100%/plus+and&.txt",
    "q?x=1#y.txt",
    "dots/..x/.y.txt",
)


class Bucket:
    """The API's state outlives its server, so that a server that comes back has everything."""

    def __init__(self) -> None:
        from moto.s3.models import s3_backends

        self._server: S3Server | None = S3Server()
        self.name = self._server.bucket()
        self.line = Line(port_of(self._server))
        self._backend: Any = s3_backends["123456789012"]["aws"]
        self._dice = random.Random(4)
        self.count = 0
        for key in ODD:
            self.put(key)
        self.put("folder/", b"")
        self.fill(OBJECTS)

    def start(self) -> None:
        self._server = S3Server()
        self.line.to = port_of(self._server)

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    @property
    def server(self) -> S3Server:
        assert self._server is not None
        return self._server

    def put(self, key: str, data: bytes | None = None) -> None:
        text = f"# {key}\n\n" + prose(self._dice, 60)
        self._backend.put_object(self.name, f"papers/{key}", text.encode() if data is None else data)

    def delete(self, key: str) -> None:
        self._backend.delete_object(self.name, f"papers/{key}")

    def fill(self, count: int) -> int:
        for n in range(self.count, self.count + count):
            self.put(f"{n % 40:02}/unit-{n}.md")
        self.count += count
        return count

    def keys(self) -> list[str]:
        return [key.removeprefix("papers/") for key in self._backend.buckets[self.name].keys]

    def uris(self) -> set[str]:
        return {f"{NAME}/{key}" for key in self.keys() if key != "folder/"}

    def config(self) -> str:
        return (
            f'[sources.{NAME}]\ntype = "objects"\nurl = "s3://{self.name}/papers"\n'
            f'endpoint = "http://127.0.0.1:{self.line.port}"\nallow_http = true\naccess_key = "${{PAPERS_KEY}}"\n'
            'secret_key = "${PAPERS_SECRET}"\npage_size = 500\nbudget = { concurrency = 8, patience = 3 }\n'
        )


def port_of(server: S3Server) -> int:
    return int(server.url.rpartition(":")[2])


@contextmanager
def running() -> Iterator[Bucket]:
    bucket = Bucket()
    try:
        yield bucket
    finally:
        bucket.line.down()
        bucket.stop()


def prove(folder: Path) -> Checks:
    """All checks."""
    checks = Checks("s3 (moto server)", version("moto"))
    with running() as bucket:
        secrets = {"PAPERS_KEY": "AKIAPROOFPROOFPROOF1", "PAPERS_SECRET": KEYS["AWS_SECRET_ACCESS_KEY"]}
        desk = Desk(folder / "desk", bucket.config(), secrets)
        first(checks, desk, bucket)
        for key in bucket.keys()[100:140]:
            bucket.put(key)
        for key in bucket.keys()[200:230]:
            bucket.delete(key)
        moved = bucket.keys()[300]
        bucket.put("moved/to here.md", bytes(bucket._backend.get_object(bucket.name, f"papers/{moved}").value))
        bucket.delete(moved)
        bucket.fill(20)
        ran = changed(checks, desk, bucket, "changed, new, moved and deleted objects", 40 + 20 + 1)
        checks.that(
            "what was moved is not embedded again", ran.reused_tokens > 0, f"{ran.reused_tokens} tokens were there"
        )
        outage(checks, desk, bucket, lambda: bucket.fill(MORE), 150)
        with bucket.server.checking_keys():
            ran = desk.ingest()
        checks.that(
            "keys that the server does not know stop the source with exit 2, and delete nothing",
            ran.code == 2 and desk.indexed() == bucket.uris(),
            ran.brief(),
        )
        silent(checks, desk)
    return checks
