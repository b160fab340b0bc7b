"""A DR store as a place to read from what no replica has whole. It is asked last, with a deadline, and never written.

A replica's layout is a DR store's, so a donor stands behind the replicas wherever blobs are read. What it gives is
verified like what they give, so one that is wrong or damaged gives nothing, and one that is away costs one deadline.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from penstock.index.blobs import blob, copying
from penstock.index.blobs.blob import SPARE
from penstock.index.blobs.deadline import Late, call
from penstock.index.commits import log
from penstock.index.commits import manifest as manifests
from penstock.index.commits.replicas import read_manifest
from penstock.index.errors import IndexFault, Unavailable
from penstock.index.recovery.archive import SHIPPED, history
from penstock.index.recovery.remedy import elsewhere
from penstock.index.stores.store import Store
from penstock.index.types import BlobRef

FIRST = 5.0
"""Seconds that a DR store has for its first answer."""
SECONDS = 60.0
"""Seconds that it has for each piece of a blob once it has answered: far away is not gone."""
Key = tuple[int, int]
"""(version, epoch)."""
_T = TypeVar("_T")


class Donor:
    """Reads like the store itself. Nothing is sent before the first question.

    `away`: why it does not answer; it is not asked again. A place where nothing was ever shipped to holds nothing.
    `given`: bytes of what was read, by key. `report` is told once, when something is really read. Shared by threads.
    """

    suspicion = SPARE

    def __init__(
        self, store: Store, report: Callable[[str], None], *, first: float = FIRST, seconds: float = SECONDS
    ) -> None:
        self.name, self.away = store.name, ""
        self.given: dict[str, int] = {}
        self._store, self._report, self._first, self._seconds = store, report, first, seconds
        self._lock = threading.Lock()
        self._asked = self._holds = False

    def get(self, key: str) -> bytes:
        return self._gave(key, self._ask(key, lambda: self._store.get(key)))

    def get_range(self, key: str, start: int, end: int) -> bytes:
        return self._gave(key, self._ask(key, lambda: self._store.get_range(key, start, end)))

    def size(self, key: str) -> int | None:
        return self._ask(key, lambda: self._store.size(key)) if self._any() else None

    def list(self, prefix: str) -> Iterator[str]:
        return iter(self._ask(prefix, lambda: [*self._store.list(prefix)]) if self._any() else [])

    def local_path(self, key: str) -> Path | None:
        """None: a disk that hangs can be left behind only if each piece is asked for."""
        return None

    def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        raise AssertionError("a donor is never written")

    def delete(self, key: str) -> None:
        raise AssertionError("a donor is never written")

    def probe(self) -> None:
        raise AssertionError("a donor is never written")

    def _any(self) -> bool:
        """Whether anything was ever shipped there. Raises `Unavailable` where it does not answer."""
        with self._lock:
            if not self._asked:
                self._asked, self._holds = True, self._in_time(self._shipped)
        if self.away:
            raise Unavailable(self.away)
        return self._holds

    def _shipped(self) -> bool:
        return self._store.size(SHIPPED) is not None or any(self._store.list(log.PREFIX))

    def _in_time(self, first: Callable[[], bool]) -> bool:
        try:
            return call(first, self._first)
        except Late:
            self.away = f"{self.name}: no answer within {self._first:g} s"
        except (IndexFault, OSError) as fault:
            self.away = str(fault)
        return False

    def _ask(self, key: str, work: Callable[[], _T]) -> _T:
        if not self._any():
            raise FileNotFoundError(key)
        try:
            return call(work, self._seconds)
        except Late:
            self.away = f"{self.name}: no answer within {self._seconds:g} s"
            raise Unavailable(self.away) from None
        except Unavailable:
            self._in_time(lambda: self._store.size(SHIPPED) is not None)  # is it the store, or only this file?
            raise

    def _gave(self, key: str, data: bytes) -> bytes:
        with self._lock:
            first = not self.given
            self.given[key] = self.given.get(key, 0) + len(data)
        if first:
            self._report(f"{self.name}: what no replica has whole is read from this DR store")
        return data


def records(
    donors: Sequence[Store],
    lineage: str,
    known: Iterable[log.LogRecord],
    damaged: Collection[Key],
    floor: int,
    stores: Sequence[Store],
    report: Callable[[str], None],
    *,
    newer: bool,
) -> list[log.LogRecord]:
    """The records that no replica has, and a donor does: of versions above `floor` that are damaged or missing between
    those that are known, and, if asked for, of `newer` ones.

    A record that was published has the same bytes wherever it lies, so it is what was lost. It counts only if all that
    the version needs is there, on `stores` (replicas) or whole in the donor; a newer one only if it was made from the
    newest before it: what its manifest says. Nobody is asked where nothing is missing.
    """
    found = {(record.version, record.epoch): record for record in known}
    versions = {version for version, _ in found}
    lost = {key for key in damaged if key not in found and key[0] > floor}
    newest = first = found[max(found)] if found else None
    gaps = newest is not None and len([v for v in versions if v > floor]) < newest.version - floor
    if not (lost or gaps or newer):
        return []
    given = []
    for donor in donors:
        for key in _true(donor, found.keys() | lost, report):
            version = key[0]
            if key in found or version <= floor or (version in versions and key not in lost):
                continue
            beyond = newest is None or version > newest.version
            if beyond and not (newer or key in lost):
                continue
            record = _read(donor, key, report)
            if record is not None and record.lineage != lineage:
                break  # another index's DR store
            if record is None or not _usable(record, newest if beyond and first else None, stores, donor, report):
                continue
            found[key], newest = record, record if beyond else newest
            versions.add(version)
            given.append(record)
    return given


def _true(donor: Store, known: Collection[Key], report: Callable[[str], None]) -> list[Key]:
    """What a donor has of the one history that it and `known` are, oldest first."""
    try:
        there = set(filter(None, map(log.parse, donor.list(log.PREFIX))))
    except IndexFault as fault:
        report(str(fault))
        return []
    return [key for key in history(there | set(known)) if key in there]


def _read(donor: Store, key: Key, report: Callable[[str], None]) -> log.LogRecord | None:
    try:
        return log.read(donor, *key, donor.name)
    except (IndexFault, FileNotFoundError) as fault:
        report(elsewhere(str(fault), donor.name))
        return None


def _usable(
    record: log.LogRecord,
    parent: log.LogRecord | None,
    stores: Sequence[Store],
    donor: Store,
    report: Callable[[str], None],
) -> bool:
    """Whether the version was made from `parent` (if one is given), and its closure is there."""
    try:
        manifest = read_manifest([*stores, donor], record.manifest, report)
        if parent is not None and manifest.parent != parent.manifest.name:
            return False
        for ref in [record.manifest, *manifests.closure(manifest).values()]:
            if not any(_has(store, ref) for store in stores):
                copying.check_stored(donor, ref)
    except (IndexFault, FileNotFoundError) as fault:
        said = f"version {record.version}, which only {donor.name} has, cannot be used: {fault}"
        report(elsewhere(said, donor.name))
        return False
    return True


def _has(store: Store, ref: BlobRef) -> bool:
    try:
        return store.size(blob.key(ref)) == ref.size
    except IndexFault:
        return False
