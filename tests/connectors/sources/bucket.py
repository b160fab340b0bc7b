"""A bucket behind a faulty network, and the hands that change what lies in it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from penstock.connectors.sources.objects import CONNECTOR
from penstock.connectors.types import RetryLater
from tests.fakes.s3_faults import Fault, FaultyProxy
from tests.fakes.tools import Kit
from tests.index.s3 import KEYS, S3Server
from tests.suites.source_bench import NAMES, Bench


class BucketBench(Bench):
    """What lies in the bucket is changed behind the server's back; what the connector asks goes through a proxy."""

    connector = CONNECTOR
    secret = KEYS["AWS_SECRET_ACCESS_KEY"]
    names = tuple(name for name in NAMES if "\n" not in name)  # moto takes a line's end for the URL's
    faults = {
        "forbidden": (RetryLater, "forbidden"),
        "throttled": (RetryLater, "throttled"),
        "server_error": (RetryLater, "server_error"),
        "cut": (RetryLater, "truncated"),
    }

    def __init__(self, folder: Path, server: S3Server, stack: contextlib.ExitStack) -> None:
        from moto.s3.models import s3_backends

        self.server, self._stack = server, stack
        self.proxy = stack.enter_context(FaultyProxy(server.url))
        self.bucket = server.bucket()
        self.backend = s3_backends["123456789012"]["aws"]
        self.kit = Kit(folder / "scratch", {"KEY": KEYS["AWS_ACCESS_KEY_ID"], "SECRET": self.secret})
        self.kit.max_bytes = self.max_bytes
        self.options: dict[str, Any] = {
            "url": f"s3://{self.bucket}",
            "endpoint": self.proxy.url,
            "allow_http": True,
            "access_key": "${KEY}",
            "secret_key": "${SECRET}",
            "page_size": 7,
        }

    def put(self, name: str, text: str | bytes) -> None:
        data = text if isinstance(text, bytes) else text.encode()
        self.backend.put_object(self.bucket, name, data)

    def delete(self, name: str) -> None:
        self.backend.delete_object(self.bucket, name)

    def rename(self, old: str, new: str) -> None:
        self.put(new, bytes(self.backend.get_object(self.bucket, old).value))
        self.delete(old)

    def fill(self, count: int) -> list[str]:
        if count > 1000:
            self.options["page_size"] = 1000
        return super().fill(count)

    def requests(self) -> int:
        return len(self.proxy.requests)

    def cut_listing(self, *, for_ever: bool) -> None:
        self.proxy.faults.add(Fault("truncate", key="continuation-token", times=None if for_ever else 1))

    def lose(self) -> None:
        del self.backend.buckets[self.bucket]

    def refuse(self) -> None:
        self._stack.enter_context(self.server.checking_keys())

    def disconnect(self) -> None:
        self.proxy.down()

    def mend(self) -> None:
        self.proxy.faults.clear()
        self.proxy.up()

    def spoil(self, name: str, fault: str) -> None:
        known = {
            "forbidden": Fault("status", key=name, status=403, code="AccessDenied", times=None),
            "throttled": Fault("status", key=name, status=503, code="SlowDown", times=None),
            "server_error": Fault("status", key=name, status=500, times=None),
            "cut": Fault("truncate", key=name, times=None),
        }
        self.proxy.faults.add(known[fault])
