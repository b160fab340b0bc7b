"""A new lineage out of a version of another one: its manifest, its record, its markers. No vectors are touched.

The content, the cursors and the names of the blobs stay. Versions go on counting, so that who remembers a number of
the old index never meets a smaller one; everything up to the restored one counts as expired.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from penstock.index.blobs import blob, framed
from penstock.index.catalog.catalog import Catalog, Meta
from penstock.index.commits import log, markers
from penstock.index.commits import manifest as manifests
from penstock.index.commits.admission import first_incarnation
from penstock.index.commits.replicas import publish_one, ratified
from penstock.index.errors import Corrupt, of_local_disk
from penstock.index.recovery.choose import Whole
from penstock.index.recovery.progress import Origin, Progress
from penstock.index.stores.store import Store
from penstock.index.types import FORMAT, BlobRef, Manifest, Member, Membership

_TICK = 1e-6


def begin(
    whole: Whole,
    replicas: list[str],
    write_quorum: int,
    *,
    origins: tuple[Origin, ...],
    exact: bool,
    fork: bool,
    passed_over: tuple[str, ...],
    token: Callable[[], str],
    clock: Callable[[], float],
) -> Progress:
    """Decide what the new lineage is: everything that is random or depends on time."""
    lineage, now, old = token(), clock(), whole.record
    members = tuple(Member(name, first_incarnation(lineage, name)) for name in sorted(replicas))
    return Progress(
        format=framed.FORMAT,
        lineage=lineage,
        was=old.lineage,
        version=old.version,
        committed_at=old.committed_at,
        now=old.version + 1,
        floor=old.version,
        epoch=1,
        epoch_id=token(),
        txn=token(),
        made_at=max(now, old.committed_at + _TICK),
        membership=Membership(members, write_quorum),
        origins=origins,
        exact=exact,
        fork=fork,
        begun=now,
        passed_over=passed_over,
    )


def instead(
    progress: Progress, whole: Whole, bad: tuple[str, ...], passed_over: tuple[str, ...], token: Callable[[], str]
) -> Progress:
    """The same lineage out of another version. The number stays and the epoch goes up: whoever reads already goes
    over, because at equal version the higher epoch is the true one."""
    return msgspec.structs.replace(
        progress,
        version=whole.record.version,
        committed_at=whole.record.committed_at,
        epoch=progress.epoch + 1,
        epoch_id=token(),
        txn=token(),
        made_at=max(progress.made_at, whole.record.committed_at) + _TICK,
        bad=tuple(sorted({*progress.bad, *bad})),
        passed_over=_once((*progress.passed_over, *passed_over)),
        instead=None,
    )


def _once(lines: tuple[str, ...]) -> tuple[str, ...]:
    """A line for each version: the first, which says what was seen of the damage itself."""
    first: dict[str, str] = {}
    for line in lines:
        first.setdefault(line.partition(" is passed over")[0], line)
    return tuple(first.values())


def manifest(progress: Progress, old: Manifest, parent: str) -> Manifest:
    """The first manifest of the new lineage: the content of `old`, whose blob is called `parent`."""
    return msgspec.structs.replace(
        old,
        format=FORMAT,
        lineage=progress.lineage,
        version=progress.now,
        epoch=progress.epoch,
        txn=progress.txn,
        parent=parent,
        committed_at=progress.made_at,
        membership=progress.membership,
    )


def lay(laid: Store, progress: Progress, whole: Whole, scratch: Path) -> log.LogRecord:
    """Put the new lineage's manifest, markers and record into the folder where a reader looks first.

    The same bytes each time, so it may be repeated. The record comes last. Raises `NoSpace`, `Unavailable`.
    """
    data = manifests.encode(manifest(progress, whole.manifest, whole.record.manifest.name))
    path = scratch / f"{progress.txn}.manifest"
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        ref = blob.seal(path, progress.txn)
        laid.put_if_absent(blob.key(ref), path)
    except OSError as fault:
        raise of_local_disk(fault, path) from fault
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    said = record(progress, ref)
    _mark(laid, progress)
    publish_one(laid, ratified(said), progress.lineage)
    for key in list(laid.list(log.PREFIX)):
        if key != log.key(said.version, said.epoch):
            laid.delete(key)  # of the version that this one is restored instead of
    return said


def record(progress: Progress, ref: BlobRef) -> log.LogRecord:
    """The first record of the new lineage."""
    return log.LogRecord(
        framed.FORMAT,
        progress.lineage,
        progress.now,
        progress.epoch,
        progress.epoch_id,
        progress.txn,
        ref,
        progress.made_at,
    )


def found(laid: Store, said: log.LogRecord, progress: Progress, member: Member, store: Store) -> None:
    """Make a store, which has every blob, a replica of the new lineage. Its own marker comes last."""
    key = blob.key(said.manifest)
    data = laid.get(key)
    if not store.put_if_absent(key, data) and store.get(key) != data:
        raise Corrupt(f"{store.name}/{key} is not what was put there; restore with --over")
    _mark(store, progress)
    publish_one(store, ratified(said), progress.lineage)
    markers.put(store, markers.REPLICA, markers.Marker(framed.FORMAT, progress.lineage, member.id, member.incarnation))


def decide(catalog: Catalog, said: log.LogRecord, progress: Progress) -> None:
    """Make the catalog say so. Raises `WrongIndex` where it is that of another index."""
    membership = msgspec.json.encode(progress.membership).decode()
    meta = Meta(progress.lineage, progress.epoch, progress.epoch_id, membership)
    catalog.rebuild(meta, [ratified(said)], progress.floor)


def _mark(store: Store, progress: Progress) -> None:
    epoch = markers.Epoch(framed.FORMAT, progress.lineage, progress.epoch, progress.epoch_id)
    markers.put(
        store, markers.floor_key(progress.floor), markers.Floor(framed.FORMAT, progress.lineage, progress.floor)
    )
    markers.put(store, markers.epoch_key(progress.epoch), epoch)
