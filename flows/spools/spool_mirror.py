"""The spool beyond one machine: a copy of each prepared shard in a store, so that another machine can go on.

    spool/{lineage}/{shard}/{file}            the shard's files; shard.json, its marker, is put last
    spool/{lineage}/{shard}/vectors/{n:06d}   records of its vector log, as they are made

Whoever works on a shard holds the lock `shard.{name}`, which its death lets go of; a shard whose lock is free may be
taken over. The copy is for cost, not for truth: when the store fails, the run says so once and goes on with its own
disk. All writes go through one thread, in order; a shard leaves marker first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from penstock.flows.spools.shard_writer import FILES, MARKER, Marker
from penstock.flows.spools.spool import VECTORS, Shard, arriving, decoded
from penstock.index.errors import IndexFault

if TYPE_CHECKING:
    from penstock.index.catalog.locks import Held, Locks
    from penstock.index.stores.store import Store

T = TypeVar("T")

_PIECE = 8 << 20
_WAITING = 8
"""Writes that may wait for the store; a device that is faster than that waits for it."""


class Mirror:
    """The copies of one index's shards in one store. `note` takes one line for the operator."""

    def __init__(self, store: Store, lineage: str, locks: Locks, note: Callable[[str], None]) -> None:
        self._store, self._prefix, self._locks, self._note = store, f"spool/{lineage}/", locks, note
        self._writes = ThreadPoolExecutor(1, thread_name_prefix="spool-mirror")
        self._pending: deque[Future[None]] = deque()
        self._off = False

    def keep(self, shard: Shard) -> bool:
        """Copy a shard of this machine, from now on with each vector. False if another machine works on it."""
        name = shard.directory.name
        held = self._taken(name)
        if held is None:
            return self._off
        shard.copy = _Copied(self, name, held)
        self._write(partial(self._upload, shard))
        return True

    def abandoned(self, spool: Path, wanted: Callable[[Marker], bool]) -> Iterator[Shard]:
        """Shards that nobody works on, copied to this machine's spool, locked for us.

        Only those that are `wanted` and not here already. What is damaged, or was never whole, is removed.
        """
        for name in sorted(self._guarded(self._names) or ()):
            if (spool / name).exists():
                continue
            held = self._taken(name)
            if held is None:
                continue
            shard = self._guarded(partial(self._download, name, spool, wanted))
            if shard is None:
                held.release()
                continue
            shard.copy = _Copied(self, name, held)
            yield shard

    def close(self) -> None:
        """Finish what is being written."""
        self._writes.shutdown(wait=True)

    def _names(self) -> set[str]:
        return {key.removeprefix(self._prefix).split("/", 1)[0] for key in self._store.list(self._prefix)}

    def _taken(self, name: str) -> Held | None:
        return self._guarded(lambda: self._locks.take(f"shard.{name}", wait=False))

    def _upload(self, shard: Shard) -> None:
        prefix = f"{self._prefix}{shard.directory.name}/"
        if self._store.size(prefix + MARKER) is not None:
            return
        try:
            for name in FILES:
                self._store.put_if_absent(prefix + name, shard.directory / name)
            log = shard.directory / VECTORS
            if log.exists() and log.stat().st_size:
                self._store.put_if_absent(f"{prefix}vectors/{0:06d}", log)
            self._store.put_if_absent(prefix + MARKER, shard.directory / MARKER)
        except FileNotFoundError:
            if (shard.directory / MARKER).exists():
                raise  # else it was committed meanwhile, its removal is under way here, and next there

    def _download(self, name: str, spool: Path, wanted: Callable[[Marker], bool]) -> Shard | None:
        prefix = f"{self._prefix}{name}/"
        try:
            marker = decoded(self._store.get(prefix + MARKER))
        except FileNotFoundError:
            self._remove(name)  # whoever put it died in the middle, or is just taking it away
            return None
        if marker is None or not wanted(marker):
            return None
        try:
            shard = arriving(spool / name, partial(self._fill, prefix, marker), marker)
        except FileNotFoundError:
            shard = None
        if shard is None and not (spool / name).exists():
            self._remove(name)
        return shard

    def _fill(self, prefix: str, marker: Marker, directory: Path) -> None:
        for name, (size, _) in marker.files.items():
            self._fetch(prefix + name, size, directory / name)
        with (directory / VECTORS).open("wb") as log:
            for key in self._store.list(f"{prefix}vectors/"):
                log.write(self._store.get(key))

    def _fetch(self, key: str, size: int, path: Path) -> None:
        with path.open("wb") as out:
            for start in range(0, size, _PIECE):
                out.write(self._store.get_range(key, start, min(start + _PIECE, size)))

    def _remove(self, name: str) -> None:
        prefix = f"{self._prefix}{name}/"
        self._store.delete(prefix + MARKER)
        for key in list(self._store.list(prefix)):
            self._store.delete(key)

    def _append(self, name: str, number: int, record: bytes) -> None:
        self._store.put_if_absent(f"{self._prefix}{name}/vectors/{number:06d}", record)

    def _next(self, name: str) -> int:
        """The number of the next vector record."""
        known = [key.rsplit("/", 1)[1] for key in self._store.list(f"{self._prefix}{name}/vectors/")]
        return max((int(word) for word in known if word.isdecimal()), default=-1) + 1

    def _write(self, work: Callable[[], object]) -> None:
        """Do it on the writing thread, after what was asked before; wait while too much is waiting."""

        def guarded() -> None:
            self._guarded(work)

        self._pending.append(self._writes.submit(guarded))
        while len(self._pending) > _WAITING:
            self._pending.popleft().result()

    def _guarded(self, work: Callable[[], T]) -> T | None:
        """Its answer; None once the store or the locks have failed, which is said once."""
        if self._off:
            return None
        try:
            return work()
        except (IndexFault, OSError) as error:
            self._off = True
            self._note(f"the spool is not copied any more ({error}); this run goes on with its own disk")
            return None


class _Copied:
    """The copy of one shard that this process works on."""

    def __init__(self, mirror: Mirror, name: str, held: Held) -> None:
        self._mirror, self._name, self._held = mirror, name, held
        self._number = -1
        self._gone = False

    def append(self, record: bytes) -> None:
        self._mirror._write(partial(self._append, record))

    def _append(self, record: bytes) -> None:
        if self._number < 0:
            self._number = self._mirror._next(self._name)
        self._mirror._append(self._name, self._number, record)
        self._number += 1

    def discard(self) -> None:
        self._mirror._write(partial(self._mirror._remove, self._name))
        self.release()

    def release(self) -> None:
        if not self._gone:
            self._gone = True
            self._mirror._writes.submit(self._held.release)
