"""Homes that proofs work on: local, or with one replica in a bucket and the catalog in PostgreSQL.

A home says of itself, in `soak.json`, where its parts are, so that children need only its path.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from penstock.index.care.repair import Repaired, repair
from penstock.index.commits.crew import Threads
from penstock.index.stores.store import Store
from penstock.index.stores.stores import open_store
from tests.index.world import World

SPEC = "soak.json"


def describe(root: Path, **spec: Any) -> None:
    """Note what the home at `root` consists of: `replicas` (a number), `write_quorum`, `catalog`, `far` (URLs by id),
    `environ` (of the stores)."""
    root.mkdir(parents=True, exist_ok=True)
    (root / SPEC).write_text(json.dumps(spec))


class Home(World):
    """The home at `root` as its `soak.json` says; without one, two local replicas and SQLite."""

    def __init__(self, root: Path) -> None:
        file = root / SPEC
        self.spec: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        super().__init__(root, self.spec.get("replicas", 2), self.spec.get("write_quorum", 2))

    @property
    def catalog(self) -> str:
        return str(self.spec.get("catalog") or super().catalog)

    def stores(self) -> dict[str, Store]:
        local, far = super().stores(), self.spec.get("far", {})
        environ = {**os.environ, **self.spec.get("environ", {})}
        return {
            name: open_store(far[name], token=self.token, environ=environ) if name in far else store
            for name, store in local.items()
        }

    def _arguments(self) -> dict[str, Any]:
        """As in production: a thread for each replica."""
        return {**super()._arguments(), "crew": Threads(time.monotonic)}

    def repair(self) -> Repaired:
        return repair(self.catalog, self.stores(), report_progress=lambda *_: None, **self._arguments())
