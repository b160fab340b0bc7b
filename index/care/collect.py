"""Garbage collection: versions expire, then what only they needed goes. Mark, note, sweep; the head is never touched.

Safe against whoever was paused past everything, writer or collector:

- Which versions have expired is decided by the catalog (`raise_floor`) and noted on as many replicas as a commit
  needs before anything is deleted, so that a catalog that is made again from the logs knows it too.
- A blob goes only if no version above the floor names it and the transaction in its name is not open. The replica is
  listed first and the catalog asked afterwards, in one transaction: whatever was listed had its transaction noted
  before. What is dead then is dead for ever, because a new version names blobs of its own transaction, or blobs that
  the head, or another version above the floor, names when it is ratified. So a collector may be stopped anywhere, and
  go on years later.
- A writer whose transaction was aborted meanwhile is never ratified, whatever it still puts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, pairwise

import msgspec

from penstock.index.blobs import framed
from penstock.index.catalog.catalog import Ratified, Snapshot
from penstock.index.commits import log, markers
from penstock.index.commits import manifest as manifests
from penstock.index.commits.commit import Writer
from penstock.index.errors import Corrupt, Fenced, IndexFault, Unavailable
from penstock.index.stores.store import Store
from penstock.index.types import BlobRef

BLOBS = "blobs/"
Progress = Callable[[str, int, int], None]


class Retention(msgspec.Struct, frozen=True):
    """A version is kept while it is among the newest `versions`, or was the newest within the last `seconds`."""

    versions: int = 10
    seconds: float = 24 * 3600.0


class Swept(msgspec.Struct, frozen=True):
    """What went, or would go, from one replica."""

    records: int = 0
    blobs: int = 0
    bytes: int = 0


class Collected(msgspec.Struct, frozen=True):
    """`floor`: versions up to it have expired. `replicas`: by id. `left_out`: replicas that could not be swept."""

    floor: int
    expired: int
    replicas: dict[str, Swept]
    left_out: dict[str, str]


def expiring(versions: Sequence[Ratified], keep: Retention, now: float) -> int:
    """The newest version that has expired, 0 if none: pure. `versions` ascend; the newest never expires.

    A version's age counts from when the next one came. Versions expire from the oldest on, without holes.
    """
    floor = 0
    old = len(versions) - max(1, keep.versions)
    for version, following in islice(pairwise(versions), max(0, old)):
        if following.committed_at > now - keep.seconds:
            break
        floor = version.version
    return floor


def collect(
    writer: Writer, keep: Retention, *, now: float, dry_run: bool = False, report_progress: Progress = lambda *_: None
) -> Collected:
    """Let old versions expire and delete what nobody needs, on every replica that answers. May be repeated.

    Raises `Fenced` when a newer epoch has begun, `Unavailable` when too few replicas took the note of what expired.
    """
    catalog = writer.site.catalog
    before = _snapshot(writer)
    floor = max(before.floor, expiring(before.versions, keep, now))
    if floor > before.floor and not dry_run:
        catalog.raise_floor(floor, writer.meta.epoch_id)
    if floor and not dry_run:
        _note(writer, floor)
        _snapshot(writer)  # a catalog that was made again before the note was there knows nothing of it: stop
    swept, left_out = {}, {}
    for name, store in sorted(writer.replicas.stores.items()):
        try:
            swept[name] = _sweep(writer, store, floor, dry_run, report_progress)
        except (Unavailable, OSError) as fault:
            left_out[name] = str(fault)
    if not dry_run:
        catalog.prune(now - keep.seconds)
    expired = sum(version.version <= floor for version in before.versions)
    return Collected(floor, expired, swept, left_out)


def _snapshot(writer: Writer) -> Snapshot:
    """The catalog as it is now. Raises `Fenced` if it is not the one that this writer opened."""
    snapshot = writer.site.catalog.snapshot()
    if snapshot.meta.epoch_id != writer.meta.epoch_id:
        raise Fenced(f"a newer epoch than {writer.meta.epoch} has begun; run again")
    return snapshot


def _note(writer: Writer, floor: int) -> None:
    """Put the floor's marker on every replica. Raises `Unavailable` unless enough took it."""
    marker = markers.Floor(framed.FORMAT, writer.meta.lineage, floor)
    writer.replicas.everywhere(
        "note what has expired", lambda store: markers.put(store, markers.floor_key(floor), marker), "floor.noted.one"
    )
    writer.site.reach("floor.noted")


def _sweep(writer: Writer, store: Store, floor: int, dry_run: bool, report_progress: Progress) -> Swept:
    """Records first: a replica never names a version whose blobs are going."""
    if not dry_run and floor and markers.floor(store) < floor:
        raise Unavailable(f"{store.name} has not noted what has expired")
    listed = [key for key in store.list(BLOBS) if key.count("/") == 2]
    snapshot = _snapshot(writer)
    there = sorted(filter(None, map(log.parse, store.list(log.PREFIX))))
    newest = dict(there)
    records = [log.key(*at) for at in there if at[0] <= floor or at[1] < newest[at[0]]]
    kept = {version.ref.name: version.ref for version in snapshot.versions if version.version > floor}
    # A record that another epoch decided otherwise stays, with its blobs, until the other lies beside it: were the
    # catalog lost just now, this one might be the newest there is.
    kept |= {ref.name: ref for ref in _of_records(store, there, set(records))}
    needed = _needed(writer, kept.values())
    dead = [key for key in listed if _is_dead(key.rsplit("/", 1)[1], needed, snapshot)]
    bytes_ = 0
    if not dry_run:
        for key in records:
            store.delete(key)
        writer.site.reach("records.swept")
    for done, key in enumerate(dead, start=1):
        report_progress(store.name, done, len(dead))
        bytes_ += store.size(key) or 0
        if not dry_run:
            store.delete(key)
            writer.site.reach("blob.swept")
    return Swept(len(records), len(dead), bytes_)


def _of_records(store: Store, there: Iterable[tuple[int, int]], going: set[str]) -> Iterator[BlobRef]:
    """The manifests of the records that stay on this replica."""
    for at in there:
        if log.key(*at) not in going:
            try:
                yield log.read(store, *at, store.name).manifest
            except (Corrupt, FileNotFoundError) as fault:
                raise Unavailable(f"{fault}; nothing is deleted there before `penstock repair`") from fault


def _needed(writer: Writer, refs: Iterable[BlobRef]) -> frozenset[str]:
    needed: set[str] = set()
    for ref in refs:
        try:
            manifest = writer.replicas.manifest(ref)
        except IndexFault as fault:
            raise Unavailable(f"manifest {ref.name} cannot be read, so nothing is deleted: {fault}") from fault
        needed.add(ref.name)
        needed.update(manifests.closure(manifest))
    return frozenset(needed)


def _is_dead(name: str, needed: frozenset[str], snapshot: Snapshot) -> bool:
    _, dot, txn = name.partition(".")
    return bool(dot) and name not in needed and txn not in snapshot.open
