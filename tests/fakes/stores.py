"""Stores that misbehave: one that does not answer, one that takes no log records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from penstock.index.errors import Unavailable
from penstock.index.stores.store import Store


class Away:
    """A store that answers while `gone()` is False, and not at all while it is True."""

    def __init__(self, store: Store, gone: Callable[[], bool] = lambda: True) -> None:
        self._store, self._gone, self.name = store, gone, store.name

    def _there(self) -> Store:
        if self._gone():
            raise Unavailable(f"{self.name}: no answer")
        return self._store

    def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        return self._there().put_if_absent(key, data)

    def get(self, key: str) -> bytes:
        return self._there().get(key)

    def get_range(self, key: str, start: int, end: int) -> bytes:
        return self._there().get_range(key, start, end)

    def size(self, key: str) -> int | None:
        return self._there().size(key)

    def list(self, prefix: str) -> Iterator[str]:
        return self._there().list(prefix)

    def delete(self, key: str) -> None:
        self._there().delete(key)

    def local_path(self, key: str) -> Path | None:
        return self._there().local_path(key)

    def probe(self) -> None:
        self._there().probe()


class OnlyBlobs(Away):
    """A store that takes blobs while `gone()` is True, and no log records."""

    def _there(self) -> Store:
        return self._store

    def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        if key.startswith("log/") and self._gone():
            self._refuse()
        return self._store.put_if_absent(key, data)

    def _refuse(self) -> NoReturn:
        raise Unavailable(f"{self.name}: no answer")
