"""The published log: one small file for each version, on every replica. Readers need nothing else to begin.

`log/{version:012d}.{epoch:08d}` holds a `LogRecord`, framed (see `framed`). A record is put only when its parent's
record and its whole closure lie on the same replica, so whatever can be read here is complete there. It is never
changed and never overwritten; at equal version the higher epoch is the true one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import msgspec

from penstock.index.blobs import framed
from penstock.index.errors import Corrupt
from penstock.index.types import BlobRef

PREFIX = "log/"


class LogRecord(msgspec.Struct, frozen=True):
    """Version `version` of `lineage` is the manifest in blob `manifest`, ratified under `epoch` by `txn`."""

    format: int
    lineage: str
    version: int
    epoch: int
    epoch_id: str
    txn: str
    manifest: BlobRef
    committed_at: float


class Readable(Protocol):
    """What of a store is needed to follow the log."""

    def get(self, key: str) -> bytes: ...

    def list(self, prefix: str) -> Iterable[str]: ...


def key(version: int, epoch: int) -> str:
    """The key of a record; keys sort by version, then by epoch."""
    return f"{PREFIX}{version:012d}.{epoch:08d}"


def parse(name: str) -> tuple[int, int] | None:
    """(version, epoch) of a key, or None if it is not a record's key."""
    version, dot, epoch = name.removeprefix(PREFIX).partition(".")
    if not (name.startswith(PREFIX) and dot and len(version) == 12 and len(epoch) == 8):
        return None
    if not (version.isascii() and version.isdigit() and epoch.isascii() and epoch.isdigit()):
        return None
    return int(version), int(epoch)


def encode(record: LogRecord) -> bytes:
    """The bytes of a record: equal records have equal bytes."""
    return framed.encode(record)


def decode(data: bytes, where: str) -> LogRecord:
    """The record in `data`. Raises `Corrupt`, or `WrongIndex` for a format that is newer than this reader."""
    return framed.decode(data, LogRecord, where)


def entries(store: Readable) -> list[tuple[int, int]]:
    """(version, epoch) of each version published here, one per version (its highest epoch), oldest first."""
    found: dict[int, int] = {}
    for name in store.list(PREFIX):
        parsed = parse(name)
        if parsed is not None:
            found[parsed[0]] = max(parsed[1], found.get(parsed[0], 0))
    return sorted(found.items())


def read(store: Readable, version: int, epoch: int, where: str = "replica") -> LogRecord:
    """One record, checked against its own name. Raises `FileNotFoundError`, `Corrupt`, `WrongIndex`."""
    name = key(version, epoch)
    record = decode(store.get(name), f"{where}: {name}")
    if (record.version, record.epoch) != (version, epoch):
        raise Corrupt(f"{where}: {name} holds version {record.version}.{record.epoch}; run `penstock verify`")
    return record


def newest(store: Readable, where: str = "replica") -> LogRecord | None:
    """The newest record of this replica, None when it has none."""
    known = entries(store)
    return read(store, *known[-1], where) if known else None
