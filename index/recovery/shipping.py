"""Shipping: every acknowledged version, with all that it needs, into a DR store, one after the other.

For each version: the DR store is ours and fences nobody, the version is announced (`coming/`), then the blobs that are
not there, each from a good copy, then its record. So whatever lies under `log/` there is whole, whenever this stops.
Nothing is ever deleted or overwritten, and everything may be repeated; two may ship to one place at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import msgspec

from penstock.index.blobs import blob
from penstock.index.commits import log
from penstock.index.commits import manifest as manifests
from penstock.index.commits.replicas import read_manifest
from penstock.index.errors import Corrupt, Unavailable, of_local_disk
from penstock.index.recovery.archive import Archive
from penstock.index.recovery.carrying import Unreadable, carry, in_parallel
from penstock.index.recovery.fencing import Fence, put
from penstock.index.recovery.follow import Follower, Version
from penstock.index.stores.store import Store
from penstock.index.types import BlobRef


class Shipped(msgspec.Struct, frozen=True):
    """What was shipped. `head`: the newest version in the DR store, 0 if none.

    `lags`: seconds from commit to shipped, one for each version. What a call that failed, or was stopped, had put is
    told by the next one that does not fail.
    """

    versions: int
    blobs: int
    bytes: int
    head: int
    lags: tuple[float, ...]


class Shipper:
    """A session with one DR store. Not for several threads at once.

    A session begins by looking whether the newest version there is still whole, and puts what is missing of it; a call
    that fails ends it, and the next call begins another. `clock` gives seconds since the epoch, as commits do.
    `scratch` is a local folder of its own for large blobs on their way from bucket to bucket. `fence` is put there
    before the first version: an index that was restored keeps the one that it was made from out of its own DR stores
    too. Crash points:
    `ship.announced`, `ship.blob` (after each), `ship.blobs`, `ship.published`.
    """

    def __init__(
        self,
        replicas: Sequence[Store],
        archive: Archive,
        *,
        lineage: str,
        scratch: Path,
        clock: Callable[[], float],
        report: Callable[[str], None],
        reach: Callable[[str], None] = lambda _: None,
        threads: int = 4,
        fence: Fence | None = None,
    ) -> None:
        self._scratch = scratch
        self._there = _There(replicas, archive, lineage, scratch, clock, report, reach, threads, fence)
        self._follower = Follower(replicas, self._there, report, lineage)

    def catch_up(self, stopped: Callable[[], bool] = lambda: False) -> Shipped:
        """Ship what is published and not there yet, until `stopped`, which is asked before each blob.

        Raises `Fenced` where an index that was restored from there goes on instead of this one, `WrongIndex` where
        the place is another's; `Corrupt` for something there that is not what its name says; `NoSpace`, `Unavailable`
        and `Corrupt` for the DR store or the replicas. The next call goes on.
        """
        try:
            self._there.begin(stopped)
            self._follower.catch_up(stopped)
        except _Stopped:
            pass
        except OSError as fault:
            self._there.forget()
            raise of_local_disk(fault, self._scratch) from fault
        except BaseException:
            self._there.forget()
            raise
        return self._there.told()


class _Stopped(Exception):
    """Whoever called wants it to end."""


class _There:
    """The DR store as a target. `_whole`: those blobs of its newest version that are known to lie there."""

    def __init__(
        self,
        replicas: Sequence[Store],
        archive: Archive,
        lineage: str,
        scratch: Path,
        clock: Callable[[], float],
        report: Callable[[str], None],
        reach: Callable[[str], None],
        threads: int,
        fence: Fence | None,
    ) -> None:
        self._fence = fence
        self._replicas, self._archive, self._lineage, self._scratch = tuple(replicas), archive, lineage, scratch
        self._clock, self._report, self._reach, self._threads = clock, report, reach, threads
        self._stopped: Callable[[], bool] = lambda: False
        self._lags: list[float] = []
        self._put: list[int] = []
        self._claimed = False
        self.forget()

    def forget(self) -> None:
        """Something went wrong: what is known of the DR store may not be so any more, but for whose it is."""
        self._begun, self._empty, self._sure = False, False, False
        self._at: tuple[int, int] | None = None
        self._whole: set[str] = set()

    def told(self) -> Shipped:
        """What was put and shipped since this was asked last."""
        head = self._at[0] if self._at is not None else 0
        found = Shipped(len(self._lags), len(self._put), sum(self._put), head, tuple(self._lags))
        self._lags, self._put = [], []
        return found

    def begin(self, stopped: Callable[[], bool]) -> None:
        """Look at what is there, once, and mend its newest version as far as that can be done by putting."""
        self._stopped = stopped
        if self._begun:
            return
        if self._claimed or self._archive.lineage() is not None:
            self._check_ours()
            self._at = next(reversed(self._archive.versions()), None)
            if self._at is not None:
                self._mend(*self._at)
        self._empty = self._at is None and not (self._claimed and self._archive.coming())
        self._begun = True

    def at(self) -> tuple[int, int] | None:
        return self._at

    def apply(self, version: Version, stores: Sequence[Store]) -> None:
        self._check_ours()
        record = version.record
        self._archive.announce(record)
        self._reach("ship.announced")
        needed = {record.manifest.name: record.manifest, **manifests.closure(version.manifest)}
        self._archive.check_stays(self._clock(), blobs=needed)
        self._doubt()
        missing = sorted((ref for name, ref in needed.items() if name not in self._whole), key=lambda ref: -ref.size)
        in_parallel(lambda ref: self._bring(ref, stores, look=self._asks(ref, record.txn)), missing, self._threads)
        self._reach("ship.blobs")
        self._archive.publish(record)
        self._at, self._whole = (record.version, record.epoch), set(needed)
        self._empty, self._sure = False, True
        self._lags.append(max(0.0, self._clock() - record.committed_at))
        self._reach("ship.published")

    def _check_ours(self) -> None:
        """Claim the place, the first time, if it is nobody's. Whose it was a moment ago it still must be: an empty
        folder in its stead is a disk that is not mounted."""
        found = self._archive.marked()
        if found is None and self._claimed and self._archive.told() is None:
            raise Unavailable(
                f"{self._archive.name}: is empty, and was shipped to a moment ago (is the disk mounted?); if that is "
                "meant: penstock ship --anew"
            )
        if found != self._lineage:
            self._archive.claim(self._lineage)
        self._archive.check_not_fenced(self._lineage)
        if self._fence is not None and not self._claimed:
            put(self._archive.store, self._fence)
        self._claimed = True

    def _doubt(self) -> None:
        """Believe what is known of the newest version's blobs only as long as its record is there: where another ships
        here too, it may be old by now, and expired. What expires later heeds what was announced."""
        if self._at is not None and self._archive.store.size(log.key(*self._at)) is None:
            self._whole, self._sure = set(), False

    def _asks(self, ref: BlobRef, txn: str) -> bool:
        """Whether to ask for a blob before it is read and sent: an older version may have brought it, or a call that
        was interrupted. What the version's own transaction made cannot have come otherwise."""
        return not self._empty and not (self._sure and ref.name.endswith(f".{txn}"))

    def _bring(self, ref: BlobRef, stores: Sequence[Store], *, look: bool) -> None:
        """See that a blob of the version that is coming lies there."""
        if self._stopped():
            raise _Stopped
        if look and self._lies_there(ref):
            return
        if carry(ref, stores, self._archive.store, self._scratch, self._report):
            self._put.append(ref.size)
        elif not self._lies_there(ref):
            raise Unavailable(f"{self._archive.name}: blob {ref.name} went while it was looked for; run again")
        self._reach("ship.blob")

    def _lies_there(self, ref: BlobRef) -> bool:
        size = self._archive.store.size(blob.key(ref))
        if size not in (None, ref.size):
            self._spoilt(ref, size)
        return size is not None

    def _spoilt(self, ref: BlobRef, size: int | None) -> NoReturn:
        raise Corrupt(
            f"{self._archive.name}: {blob.key(ref)} has {size} bytes, not {ref.size}, and is never overwritten; look "
            "with `penstock snapshot verify`, then delete it there: shipping puts it again"
        )

    def _mend(self, version: int, epoch: int) -> None:
        """Look at each blob of the newest version there by its size; put those that are missing."""
        try:
            record = self._archive.record(version, epoch)
            found = read_manifest([*self._replicas, self._archive.store], record.manifest, lambda _: None)
        except (Corrupt, FileNotFoundError) as fault:
            self._report(f"{fault}; look with `penstock snapshot verify`")
            return
        needed = {record.manifest.name: record.manifest, **manifests.closure(found)}
        self._archive.check_stays(self._clock(), blobs=needed)
        whole = in_parallel(self._mended, list(needed.values()), self._threads)
        self._whole = {name for name in whole if name is not None}
        if len(self._whole) < len(needed):
            self._report(f"{self._archive.name}: version {version} is not whole there any more; a newer one will be")

    def _mended(self, ref: BlobRef) -> str | None:
        """The blob's name, None if it is not there as it should be and cannot be brought."""
        if self._stopped():
            raise _Stopped
        try:
            if self._lies_there(ref):
                return ref.name
            self._bring(ref, self._replicas, look=False)
        except (Unreadable, Corrupt) as fault:
            self._report(str(fault))
            return None
        self._report(f"{self._archive.name}: blob {ref.name} was missing, and is there again")
        return ref.name
