"""A store that falls ill while it is read: as disks, mounts and servers do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

from penstock.index.errors import Unavailable
from penstock.index.stores.store import Store

ILLNESSES = ("hung", "slow", "failing", "missing", "flipped", "cut")


class Unwell:
    """Reads `store` and has no local files. Set `illness` at any time; `asked` counts calls since the last `forget`.

    `hung` calls come back when `cured` is set, as those of a mount do when its server is back.
    """

    remote = True

    def __init__(self, store: Store, *, seconds: float = 0.3) -> None:
        self.store, self.name = store, store.name
        self.illness = ""
        self.asked = 0
        self.cured = threading.Event()
        self._seconds = seconds

    def get(self, key: str) -> bytes:
        return self._spoilt(self._answer(lambda: self.store.get(key), key))

    def get_range(self, key: str, start: int, end: int) -> bytes:
        return self._spoilt(self._answer(lambda: self.store.get_range(key, start, end), key))

    def size(self, key: str) -> int | None:
        return None if self.illness == "missing" else self._answer(lambda: self.store.size(key), key)

    def list(self, prefix: str) -> Iterator[str]:
        return iter([]) if self.illness == "missing" else self._answer(lambda: self.store.list(prefix), prefix)

    def local_path(self, key: str) -> Path | None:
        return None

    def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        raise AssertionError("a reader writes nothing")

    delete = probe = put_if_absent

    def _answer(self, work, key):
        self.asked += 1
        if self.illness == "hung":
            self.cured.wait()
        elif self.illness == "slow":
            time.sleep(self._seconds)
        elif self.illness == "failing":
            raise Unavailable(f"{self.name}: connection refused")
        elif self.illness == "missing":
            raise FileNotFoundError(key)
        return work()

    def _spoilt(self, data: bytes) -> bytes:
        if self.illness == "flipped" and data:
            return data[:-1] + bytes([data[-1] ^ 1])
        return data[:-1] if self.illness == "cut" else data
