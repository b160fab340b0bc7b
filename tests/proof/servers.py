"""Real servers for proofs: an S3 API that goes away and comes back, and PostgreSQL whose database can be lost."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fakes.s3_faults import Fault, FaultyProxy
from tests.index import postgres
from tests.index.s3 import S3Server
from tests.proof.homes import describe

FAULTS = (
    Fault("drop_request", chance=0.02, times=None),
    Fault("drop_reply", chance=0.02, times=None),
    Fault("status", status=503, code="SlowDown", chance=0.02, times=None),
    Fault("status_after", method="PUT", status=500, chance=0.02, times=None),
    Fault("slow", chance=0.02, seconds=0.3, times=None),
    Fault("truncate", method="GET", chance=0.01, times=None),
)


class Servers:
    """Homes with N=3, W=2: two local replicas, one in a bucket behind the proxy; the catalog in PostgreSQL."""

    def __init__(self, s3: S3Server, proxy: FaultyProxy, sql: postgres.Postgres) -> None:
        self._s3, self.proxy, self._sql = s3, proxy, sql

    def home(self, root: Path) -> None:
        far = {"2": f"s3://{self._s3.bucket()}/home"}
        environ = {**self._s3.environ, "AWS_ENDPOINT_URL": self.proxy.url}
        describe(root, replicas=3, write_quorum=2, catalog=self._sql.fresh(), far=far, environ=environ)

    def lose_catalog(self, spec: dict[str, Any]) -> None:
        """An operator's worst day: the database is there, and empty."""
        self._sql.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public", spec["catalog"])

    @contextlib.contextmanager
    def weather(self, dice: random.Random) -> Iterator[None]:
        """Meanwhile the bucket's server fails now and then, and is away half of the time."""
        over = threading.Event()
        self.proxy.faults.add(*FAULTS)

        def blow() -> None:
            while not over.wait(dice.uniform(0.3, 3.0)):
                self.proxy.down()
                over.wait(dice.uniform(0.3, 3.0))
                self.proxy.up()

        wind = threading.Thread(target=blow, daemon=True)
        wind.start()
        try:
            yield
        finally:
            over.set()
            wind.join()
            self.proxy.faults.clear()
            self.proxy.up()


@contextlib.contextmanager
def running(seed: int) -> Iterator[Servers]:
    """The servers, for as long as the block lasts."""
    s3 = S3Server()
    try:
        with postgres.running() as sql, FaultyProxy(s3.url, seed=seed) as proxy:
            yield Servers(s3, proxy, sql)
    finally:
        s3.stop()
