"""Snapshots: a version of a DR store gets a name, and is kept for as long as the name says."""

from __future__ import annotations

from penstock.index.blobs import framed
from penstock.index.commits import log
from penstock.index.commits.log import LogRecord
from penstock.index.errors import Corrupt, Unavailable, WrongIndex
from penstock.index.recovery.archive import Archive, Key, Named


def take(
    archive: Archive, record: LogRecord, name: str, *, now: float, keep_until: float = 0.0, hold: bool = False
) -> Named:
    """Give a version that lies in the DR store a name, and return what the name says there; `hold` it, too.

    May be repeated. Raises `WrongIndex` where the name is another version's, `ValueError` where it is no name,
    `Unavailable` where the version is not there, or is just expiring.
    """
    key = (record.version, record.epoch)
    if key not in archive.versions():
        raise Unavailable(f"{archive.name}: version {record.version} is not there; run `penstock ship`")
    made = Named(framed.FORMAT, record.lineage, name, *key, record.manifest, record.committed_at, now, keep_until)
    there = archive.name_version(made)
    check_same(archive, there, key)
    if hold:
        archive.hold(name, True, record.lineage, now)
    # Who expires looks at names after its notice, and here notices are looked at after the name.
    archive.check_stays(now, version=key, snapshot=name)
    if archive.store.size(log.key(*key)) is None:
        raise Unavailable(f"{archive.name}: version {record.version} expired while it was named; take another name")
    return there


def check_same(archive: Archive, there: Named, key: Key) -> None:
    """Raise `WrongIndex` unless this name is that of the version `key`."""
    if (there.version, there.epoch) != key:
        raise WrongIndex(
            f"{archive.name}: snapshot {there.name} is version {there.version} there, not {key[0]}; take another name"
        )


def hold(archive: Archive, name: str, held: bool, now: float) -> Named:
    """Hold a snapshot, or let go of it. Raises `WrongIndex` where there is none, `Unavailable` if it is expiring."""
    named = find(archive, name)
    archive.hold(name, held, named.lineage, now)
    if held:
        archive.check_stays(now, version=(named.version, named.epoch), snapshot=name)
        find(archive, name)
    return named


def find(archive: Archive, name: str) -> Named:
    """The snapshot of this name. Raises `WrongIndex` where there is none, `Corrupt` where it cannot be read."""
    archive.whose()
    names, damaged = archive.names()
    if name in damaged:
        raise Corrupt(damaged[name])
    if name not in names:
        known = ", ".join(sorted(names)[-10:]) or "there is none"
        raise WrongIndex(f"{archive.name}: no snapshot {name} (there: {known}); `penstock snapshot list` shows them")
    return names[name]
