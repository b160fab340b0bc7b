"""Expiry in a DR store: snapshots and versions that policy lets go, then the blobs that only they needed.

May be cut short anywhere and repeated, with somebody shipping and naming at the same time:

- The blobs are listed first; what needs them is read afterwards: all records that stay, all names that stay, and what
  is announced. So a blob that was put after the listing is never looked at, and one that was put before it was
  announced before it.
- Unlike in a replica, what nobody needs is not dead for ever: a version that goes back to old content needs it again.
  So what is about to go is put into a notice, then all is read again, and only what still nobody needs goes. Who ships
  looks for notices after it has announced a version, so one of the two sees the other (`archive.py`).
- Markers of snapshots go before records, records before blobs: what is named is always whole.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import msgspec

from penstock.index.blobs import blob, framed
from penstock.index.commits import log
from penstock.index.commits import manifest as manifests
from penstock.index.commits.log import LogRecord
from penstock.index.errors import Corrupt, IndexFault, Unavailable
from penstock.index.recovery import inventory
from penstock.index.recovery.archive import (
    ABANDONED,
    EXPIRING,
    HOLDS,
    SHIPPED,
    SNAPSHOTS,
    Archive,
    Key,
    Notice,
    coming_key,
)
from penstock.index.recovery.inventory import Inventory
from penstock.index.recovery.policy import Policy, staying_names, staying_versions
from penstock.index.types import BlobRef

BLOBS = "blobs/"
BATCH = 1000
"""Deletions under one notice."""
LONGEST = 900.0
"""Seconds after its notice in which an expiry deletes: far less than it takes for the notice to be abandoned."""
Progress = Callable[[str, int, int], None]
_T = TypeVar("_T")


class Expired(msgspec.Struct, frozen=True):
    """What went, or would go, from one DR store; how much is kept. `waits`: why no blob could go this time."""

    store: str
    snapshots: list[str]
    versions: list[int]
    blobs: int
    bytes: int
    kept_snapshots: int
    kept_versions: int
    waits: str = ""


@dataclass(frozen=True, slots=True)
class Doomed:
    """What policy lets go: names, records, keys of blobs. `waits`: why no blob can be judged now."""

    snapshots: frozenset[str]
    versions: frozenset[Key]
    blobs: tuple[str, ...]
    waits: str = ""


def expire(
    archive: Archive,
    policy: Policy,
    *,
    clock: Callable[[], float],
    token: Callable[[], str],
    dry_run: bool = False,
    threads: int = 1,
    reach: Callable[[str], None] = lambda _: None,
    report_progress: Progress = lambda *_: None,
) -> Expired:
    """Delete what policy lets go; `dry_run`: only say what. `clock`: seconds since 1970; `token` gives unique names.

    Raises `WrongIndex` where nothing was ever shipped to; `Unavailable` when what stays cannot be read: then nothing
    is deleted.
    """
    expiry = _Expiry(archive, policy, clock, token, threads, reach, report_progress)
    return expiry.run(dry_run)


class _Expiry:
    """One expiry. What it has seen to be needed stays so until its end."""

    def __init__(
        self,
        archive: Archive,
        policy: Policy,
        clock: Callable[[], float],
        token: Callable[[], str],
        threads: int,
        reach: Callable[[str], None],
        report_progress: Progress,
    ) -> None:
        self._archive, self._policy, self._clock, self._token = archive, policy, clock, token
        self._threads, self._reach, self._report_progress = threads, reach, report_progress
        self._now = clock()
        self._listed: list[str] = []
        self._records: dict[Key, LogRecord] = {}
        self._needed: set[str] = set()
        self._manifests: set[str] = set()

    def run(self, dry_run: bool) -> Expired:
        store = self._archive.store
        self._check_marked()
        self._listed = [key for key in store.list(BLOBS) if key.count("/") == 2]
        self._reach("blobs.listed")
        found = self._look()
        doomed = self._doomed(found)
        snapshots, versions, waits = set(doomed.snapshots), set(doomed.versions), doomed.waits
        if dry_run:
            sizes = self._each("looking", self._size, doomed.blobs)
        else:
            notice = Notice(framed.FORMAT, found.lineage, 0.0)
            snapshots, versions, waits, sizes = self._delete_all(notice, doomed)
            self._tidy()
        return Expired(
            self._archive.name,
            sorted(snapshots),
            sorted({version for version, _ in versions}),
            len(sizes),
            sum(sizes),
            len(found.names) - len(snapshots),
            len(set(found.history) - versions),
            waits,
        )

    def _check_marked(self) -> None:
        """Records say well enough whose it is to restore from it, and not to delete there."""
        if self._archive.marked() is None and self._archive.told() is not None:
            missing = f"{self._archive.name}: {SHIPPED} is missing"
            raise Unavailable(f"{missing}, and nothing is deleted there before `penstock ship` puts it again")

    def _look(self) -> Inventory:
        return inventory.read(self._archive, self._records)

    def _doomed(self, found: Inventory, limit: Doomed | None = None) -> Doomed:
        """What may go now; no name and no version beyond `limit`. Raises `Unavailable` if what stays is unreadable."""
        if found.broken:
            fault = next(iter(found.broken.values()))
            raise Unavailable(f"{fault}; nothing is deleted there before you delete that marker by hand")
        names = frozenset(found.names) - staying_names(found.names, found.held, self._policy, self._now)
        names &= limit.snapshots if limit else names
        stay = frozenset(found.names) - names
        versions = frozenset(found.keys) - staying_versions(found, stay, self._policy, self._now)
        versions &= limit.versions if limit else versions
        self._need_staying(found, versions, stay)
        waits = self._need_coming(found)
        blobs = () if waits else tuple(key for key in self._listed if _name(key) not in self._needed)
        return Doomed(names, versions, blobs, waits)

    def _need_staying(self, found: Inventory, going: frozenset[Key], names: frozenset[str]) -> None:
        named = {(one.version, one.epoch): one.manifest for one in map(found.names.__getitem__, sorted(names))}
        for key in found.keys:
            if key in going:
                continue
            if key in found.records:
                self._need(found.records[key].manifest)
            elif key not in named:
                raise Unavailable(f"{found.damaged[key]}; nothing is deleted there before that is mended")
        for key, ref in named.items():
            # A name whose record and manifest are both gone is all that is left, and says nothing of what it needed.
            if key in found.keys or self._archive.store.size(blob.key(ref)) is not None:
                self._need(ref)

    def _need_coming(self, found: Inventory) -> str:
        """Spare what an announced version needs; why that is not known, if it is not."""
        for version, epoch in found.coming:
            try:
                ref = self._archive.record(version, epoch, coming=True).manifest
                if self._archive.store.size(blob.key(ref)) is None:
                    return f"version {version} is on its way, and what it needs is not known yet; run it again later"
                self._need(ref)
            except FileNotFoundError:
                return f"version {version} has just arrived; run it again"
            except Corrupt as fault:
                return f"version {version} is on its way, and what it needs cannot be read: {fault}"
        return ""

    def _need(self, ref: BlobRef) -> None:
        if ref.name in self._manifests:
            return
        try:
            manifest = self._archive.manifest(ref)
        except IndexFault as fault:
            where = f"{self._archive.name}: manifest {ref.name}"
            raise Unavailable(f"{where} cannot be read, so nothing is deleted: {fault}") from fault
        self._manifests.add(ref.name)
        self._needed.add(ref.name)
        self._needed.update(manifests.closure(manifest))

    def _delete_all(self, notice: Notice, doomed: Doomed) -> tuple[set[str], set[Key], str, list[int]]:
        """Delete it, in the safe order. Returns what really went: names, versions, why no blobs, their sizes."""
        names, versions, sizes = set[str](), set[Key](), list[int]()
        for some in _batches(sorted(doomed.snapshots)):
            with self._noticed(msgspec.structs.replace(notice, snapshots=some), doomed) as (doomed, deadline):
                going = doomed.snapshots.intersection(some)
                self._delete([SNAPSHOTS + name for name in sorted(going)], deadline)
                names |= going
        for keys in _batches(sorted(doomed.versions)):
            with self._noticed(msgspec.structs.replace(notice, versions=keys), doomed) as (doomed, deadline):
                gone = doomed.versions.intersection(keys)
                self._delete([log.key(*key) for key in sorted(gone)], deadline)
                versions |= gone
        self._reach("records.expired")
        for blobs in _batches(doomed.blobs):
            noted = msgspec.structs.replace(notice, blobs=tuple(map(_name, blobs)))
            with self._noticed(noted, doomed) as (doomed, deadline):
                dead = sorted(frozenset(blobs).intersection(doomed.blobs))
                sizes += self._each("looking", self._size, dead)
                self._delete(dead, deadline)
        return names, versions, doomed.waits, sizes

    @contextlib.contextmanager
    def _noticed(self, notice: Notice, before: Doomed) -> Iterator[tuple[Doomed, float]]:
        """Say what is about to go, and look once more. Yields what is still doomed, and until when it may go.

        Where this is cut short the notice stays: whoever needs what it names waits until it is an old one.
        """
        now, key = self._clock(), EXPIRING + self._token()
        self._archive.store.put_if_absent(key, framed.encode(msgspec.structs.replace(notice, at=now)))
        self._reach("expiry.noticed")
        doomed = self._doomed(self._look(), before)
        self._reach("expiry.decided")
        yield doomed, now + LONGEST
        self._archive.store.delete(key)

    def _delete(self, keys: list[str], deadline: float) -> None:
        def one(key: str) -> None:
            if self._clock() > deadline:
                raise Unavailable(f"{self._archive.name}: deletes too slowly to be safe; run it again")
            self._archive.store.delete(key)
            self._reach("expired.one")

        self._each("deleting", one, keys)

    def _each(self, doing: str, work: Callable[[str], _T], keys: Iterable[str]) -> list[_T]:
        todo, what = list(keys), f"{self._archive.name}: {doing}"
        if self._threads == 1:
            return [work(key) for key in self._told(what, todo)]
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(work, self._told(what, todo)))

    def _told(self, what: str, keys: list[str]) -> Iterator[str]:
        for done, key in enumerate(keys, start=1):
            self._report_progress(what, done, len(keys))
            yield key

    def _tidy(self) -> None:
        """What says nothing any more: announcements of what has come, or never will; holds of nothing; old notices."""
        store = self._archive.store
        coming, holds = self._archive.coming(), list(store.list(HOLDS))
        found = self._look()
        for key in set(coming) - set(found.coming):
            store.delete(coming_key(*key))
        for hold in holds:
            if hold.removeprefix(HOLDS).rpartition(".")[0] not in found.names.keys() | found.broken.keys():
                store.delete(hold)
        for notice in list(store.list(EXPIRING)):
            with contextlib.suppress(FileNotFoundError):
                if self._abandoned(store.get(notice), notice):
                    store.delete(notice)

    def _abandoned(self, data: bytes, key: str) -> bool:
        try:
            return framed.decode(data, Notice, key).at <= self._clock() - ABANDONED
        except Corrupt:
            return True

    def _size(self, key: str) -> int:
        return self._archive.store.size(key) or 0


def _name(key: str) -> str:
    return key.rsplit("/", 1)[1]


def _batches(what: Iterable[_T]) -> Iterator[tuple[_T, ...]]:
    rest = iter(what)
    while batch := tuple(islice(rest, BATCH)):
        yield batch
