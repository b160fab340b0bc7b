"""The real catalog, on a SQLite file, where each transaction is one step that may fail before or after its COMMIT."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from penstock.index.catalog.catalog import Catalog
from penstock.index.errors import NoSpace, Unavailable
from tests.sim.locks import LockTable, SimLocks
from tests.sim.scheduler import Op, Process, Scheduler


class SimCatalog(Catalog):
    """The catalog as one process reaches it. Nothing is done to the code under test but waiting and failing."""

    def __init__(self, url: str, process: Process, scheduler: Scheduler, table: LockTable) -> None:
        super().__init__(url)
        self._process, self._scheduler, self._table = process, scheduler, table

    def locks(self, folder: Path) -> SimLocks:
        return SimLocks(self._table, self._process, self._scheduler)

    @contextmanager
    def _transaction(self, *, write: bool = False, **options: Any) -> Iterator[Any]:
        fate = self._scheduler.point(Op("write" if write else "read", "catalog"))
        if fate == "unavailable":
            raise Unavailable("the catalog cannot be reached")
        if fate == "nospace":
            raise NoSpace("the catalog's disk is full")
        if fate == "slow":
            self._scheduler.sleep(self._process.rng.uniform(1, 60), "catalog")
        with super()._transaction(write=write, **options) as db:
            yield db
        if fate == "lost":
            raise Unavailable("the catalog's answer was lost")


class CatalogFile:
    """The file itself, for whoever loses, damages or puts back copies of it between two steps."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.copies: list[bytes] = []
        self.down_until = 0.0
        self.full_until = 0.0
        self.cut_off: set[str] = set()

    def exists(self) -> bool:
        return self.path.is_file()

    def remember(self) -> None:
        if self.exists():
            self.copies.append(self.path.read_bytes())
            del self.copies[:-6]

    def replace(self, data: bytes | None) -> None:
        for beside in self.path.parent.glob(self.path.name + "-*"):
            beside.unlink()
        if data is None:
            self.path.unlink(missing_ok=True)
            return
        fresh = self.path.with_name("restored")
        fresh.write_bytes(data)
        shutil.move(fresh, self.path)
