"""How far a DR store is behind what the replicas publish. Reads only."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence

import msgspec

from penstock.index.commits import manifest as manifests
from penstock.index.commits.log import LogRecord
from penstock.index.commits.replicas import read_manifest
from penstock.index.errors import Corrupt, Fenced, IndexFault, Unavailable, WrongIndex
from penstock.index.recovery.archive import Archive
from penstock.index.recovery.fencing import ShutOut
from penstock.index.recovery.publishedlog import Key, PublishedLog, after
from penstock.index.stores.store import Store

Report = Callable[[str], None]


class Obstacle(enum.Enum):
    """Why a DR store that answers cannot be shipped to: it is another index's, the marker that says whose it is is
    damaged, a restored index goes on instead of this one, or nobody can read whether one does."""

    ANOTHERS = "another's"
    MARKER = "marker"
    SHUT_OUT = "shut out"
    FENCE = "fence"


class Lag(msgspec.Struct, frozen=True):
    """`version`: the newest one there, 0 if none. `versions`, `bytes`: what it lacks of what is published.

    `seconds`: how long ago the oldest version that it lacks was committed, 0 if it lacks none. Where `reachable` is
    False, `reason` says what could not be learned, and the figures say nothing; else `reason` is why nothing more
    will be shipped (`Fenced`), or empty. `obstacle`: what lies in the way of a DR store that does answer.
    """

    version: int
    versions: int
    bytes: int
    seconds: float
    reachable: bool = True
    reason: str = ""
    obstacle: Obstacle | None = None


class _InTheWay(Exception):
    """A DR store answered, and nothing can be shipped there."""

    def __init__(self, obstacle: Obstacle, fault: IndexFault) -> None:
        super().__init__(str(fault))
        self.obstacle = obstacle


def measure(replicas: Sequence[Store], archive: Archive, lineage: str, now: float, report: Report) -> Lag:
    """The lag of one DR store at `now` (seconds since the epoch). Raises no `IndexFault`: it is in the answer."""
    try:
        return _measured(replicas, archive, lineage, now, report)
    except _InTheWay as found:
        return Lag(0, 0, 0, 0.0, False, str(found), found.obstacle)
    except Fenced as fault:
        return Lag(0, 0, 0, 0.0, False, str(fault), _of_fence(fault))
    except (IndexFault, OSError) as fault:
        return Lag(0, 0, 0, 0.0, False, str(fault))


def _measured(replicas: Sequence[Store], archive: Archive, lineage: str, now: float, report: Report) -> Lag:
    claimed = _claimed(archive, lineage)
    at = next(reversed(archive.versions()), None) if claimed else None
    published = PublishedLog(replicas, report, lineage)
    pending = after(published.look(), at)
    records = [record for key in pending if (record := published.record(key)) is not None]
    since = min((record.committed_at for record in records), default=now)
    fenced = _fenced(archive, lineage) if claimed else None
    return Lag(
        at[0] if at is not None else 0,
        len(pending),
        _lacking(replicas, archive, at, records, report),
        max(0.0, now - since),
        reason=str(fenced or ""),
        obstacle=_of_fence(fenced) if fenced else None,
    )


def _claimed(archive: Archive, lineage: str) -> bool:
    """Whether anything was ever shipped there. It was this index's."""
    try:
        found = archive.lineage()
    except Corrupt as fault:
        raise _InTheWay(Obstacle.MARKER, fault) from fault
    if found is None:
        return False
    try:
        archive.require(lineage)
    except WrongIndex as fault:
        raise _InTheWay(Obstacle.ANOTHERS, fault) from fault
    return True


def _lacking(
    replicas: Sequence[Store], archive: Archive, at: Key | None, records: Sequence[LogRecord], report: Report
) -> int:
    """The bytes of all blobs that these versions need and version `at`, which is there, does not."""
    if not records:
        return 0
    wanted: dict[str, int] = {}
    for record in records:
        wanted |= _needed(replicas, record, report)
    have: dict[str, int] = {}
    if at is not None:
        try:
            have = _needed([*replicas, archive.store], archive.record(*at), report)
        except (Corrupt, FileNotFoundError) as fault:
            report(str(fault))
    return sum(size for name, size in wanted.items() if name not in have)


def _needed(stores: Sequence[Store], record: LogRecord, report: Report) -> dict[str, int]:
    """Sizes by name; nothing where the manifest cannot be read any more."""
    try:
        closure = manifests.closure(read_manifest(stores, record.manifest, lambda _: None))
    except (Corrupt, Unavailable) as fault:
        report(f"version {record.version}: {fault}")
        return {}
    return {record.manifest.name: record.manifest.size, **{name: ref.size for name, ref in closure.items()}}


def _fenced(archive: Archive, lineage: str) -> Fenced | None:
    try:
        archive.check_not_fenced(lineage)
    except Fenced as fault:
        return fault
    return None


def _of_fence(fault: Fenced) -> Obstacle:
    return Obstacle.SHUT_OUT if isinstance(fault, ShutOut) else Obstacle.FENCE
