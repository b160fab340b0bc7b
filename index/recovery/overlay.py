"""What a reader is given while an index is being restored: all of it can be read, wherever each part lies by now.

The new lineage's own files are those that were laid for it and those of its replicas. A blob is read from there once
it has arrived, and until then from the DR store, a range at a time. A reader checks every block of it, as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from penstock.index.errors import Unavailable
from penstock.index.stores.store import Store
from penstock.index.stores.stores import is_remote

T = TypeVar("T")


class Overlay:
    """A store that is only read. `ours` show everything that they hold, `shipped` only their blobs, and last."""

    def __init__(self, name: str, ours: Sequence[Store], shipped: Sequence[Store]) -> None:
        self.name, self._ours, self._shipped = name, tuple(ours), tuple(shipped)
        self.remote = any(map(is_remote, (*ours, *shipped)))

    def get(self, key: str) -> bytes:
        return self._first(key, lambda store: store.get(key))

    def get_range(self, key: str, start: int, end: int) -> bytes:
        return self._first(key, lambda store: store.get_range(key, start, end))

    def size(self, key: str) -> int | None:
        return self._any(key, lambda store: store.size(key))

    def local_path(self, key: str) -> Path | None:
        return self._any(key, lambda store: store.local_path(key))

    def list(self, prefix: str) -> Iterator[str]:
        found: set[str] = set()
        silent: list[Unavailable] = []
        for store in self._ours:
            try:
                found.update(store.list(prefix))
            except Unavailable as fault:  # what was laid goes away when the replicas have it
                silent.append(fault)
        if len(silent) == len(self._ours):
            raise silent[0]
        return iter(sorted(found))

    def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        raise AssertionError("a reader writes nothing")

    def delete(self, key: str) -> None:
        raise AssertionError("a reader writes nothing")

    def probe(self) -> None:
        raise AssertionError("a reader writes nothing")

    def _at(self, key: str) -> tuple[Store, ...]:
        return (*self._ours, *self._shipped) if key.startswith("blobs/") else self._ours

    def _first(self, key: str, ask: Callable[[Store], T]) -> T:
        silent: Unavailable | None = None
        for store in self._at(key):
            try:
                return ask(store)
            except FileNotFoundError:
                continue
            except Unavailable as fault:
                silent = fault
        raise silent or FileNotFoundError(2, "is not there yet", f"{self.name}/{key}")

    def _any(self, key: str, ask: Callable[[Store], T | None]) -> T | None:
        silent: list[Unavailable] = []
        for store in self._at(key):
            try:
                found = ask(store)
            except Unavailable as fault:
                silent.append(fault)
                continue
            if found is not None:
                return found
        if silent and len(silent) == len(self._at(key)):
            raise silent[0]
        return None


def overlays(laid: Store, replicas: Sequence[Store], shipped: Sequence[Store]) -> list[Overlay]:
    """The stores to hand to a reader. The first knows all places; the others are each one DR store alone, to be asked
    where what the first gave is damaged."""
    first = Overlay(laid.name, (laid, *replicas), shipped)
    return [first, *(Overlay(store.name, (laid,), (store,)) for store in shipped)]
