"""What the replicas and the catalog say of an index, and what follows from all of it. Reads, and changes nothing.

`verify` says what is wrong with it, `repair` makes the replicas agree with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from penstock.index.blobs import framed
from penstock.index.catalog.catalog import Catalog, Meta
from penstock.index.commits import log, markers, replicas
from penstock.index.commits import manifest as manifests
from penstock.index.commits.log import LogRecord
from penstock.index.decoding import decode
from penstock.index.errors import Corrupt, IndexFault, Unavailable, WrongIndex
from penstock.index.stores.store import Store
from penstock.index.types import BlobRef, Manifest, Member, Membership

OURS = ("blobs/", log.PREFIX, markers.EPOCHS, markers.FLOORS)
"""Where the keys of a replica lie, besides its own marker."""


@dataclass(frozen=True, slots=True)
class Replica:
    """One store, as it was found. `damaged`: what is wrong with each framed file that cannot be used, by key."""

    store: Store
    marker: markers.Marker | None
    epochs: dict[int, markers.Epoch]
    records: dict[tuple[int, int], LogRecord]
    """By (version, epoch)."""
    floor: int
    damaged: dict[str, str] = field(default_factory=dict)

    @property
    def epoch(self) -> markers.Epoch | None:
        return self.epochs[max(self.epochs)] if self.epochs else None

    def versions(self) -> set[int]:
        return {version for version, _ in self.records}


@dataclass(frozen=True, slots=True)
class Decided:
    """What the catalog says. `fault`: why it says nothing; `damaged`: its bytes are; `away`: it did not answer."""

    name: str
    meta: Meta | None = None
    floor: int = 0
    records: dict[int, LogRecord] = field(default_factory=dict)
    fault: str = ""
    damaged: bool = False
    away: bool = False

    @property
    def head(self) -> int:
        return max(self.records, default=self.floor)


@dataclass(frozen=True, slots=True)
class Truth:
    """What the index is: the true record of each version above the floor, of whoever knows it."""

    lineage: str
    epoch: markers.Epoch | None
    floor: int
    records: dict[int, LogRecord]

    @property
    def head(self) -> int:
        return max(self.records, default=self.floor)


def look(store: Store) -> Replica:
    """Read all framed files of one store. Raises `Unavailable`, and `WrongIndex` for a newer format."""
    damaged: dict[str, str] = {}
    epochs: dict[int, markers.Epoch] = {}
    records: dict[tuple[int, int], LogRecord] = {}
    listed = list(store.list(markers.EPOCHS))  # first: a store that is away is asked, and waited for, once
    marker = _decoded(store, markers.REPLICA, markers.Marker, damaged)
    for key in listed:
        epoch = _decoded(store, key, markers.Epoch, damaged)
        if epoch is None:
            continue
        if markers.epoch_key(epoch.epoch) == key:
            epochs[epoch.epoch] = epoch
        else:
            damaged[key] = f"holds epoch {epoch.epoch}"
    for key in store.list(log.PREFIX):
        record = _decoded(store, key, LogRecord, damaged) if log.parse(key) else None
        if record is None:
            continue
        if log.key(record.version, record.epoch) == key:
            records[record.version, record.epoch] = record
        else:
            damaged[key] = f"holds version {record.version} of epoch {record.epoch}"
    return Replica(store, marker, epochs, records, _floor(store, damaged), damaged)


def ask(catalog: Catalog | str | None) -> Decided | None:
    """What the catalog says; None if none was named. Raises `WrongIndex` for one of a newer penstock."""
    if catalog is None:
        return None
    asked = Catalog(catalog) if isinstance(catalog, str) else catalog
    try:
        meta = asked.meta()
        if meta is None:
            return Decided(asked.name, fault=f"there is none at {asked.name}")
        rows = asked.since(0)
        floor = rows[0].version - 1 if rows else 0
        return Decided(asked.name, meta, floor, {row.version: replicas.record(row, meta.lineage) for row in rows})
    except WrongIndex:
        raise
    except IndexFault as error:
        return Decided(
            asked.name, fault=str(error), damaged=isinstance(error, Corrupt), away=isinstance(error, Unavailable)
        )


def lineage(decided: Decided | None, found: Iterable[Replica]) -> str:
    """Which index this is: the catalog's, else the one that most of what was found belongs to; empty if nothing."""
    if decided is not None and decided.meta is not None:
        return decided.meta.lineage
    votes = Counter[str]()
    for replica in found:
        said = {replica.marker.lineage} if replica.marker else set()
        votes.update(said | {record.lineage for record in replica.records.values()})
    return votes.most_common(1)[0][0] if votes else ""


def stranger(replica: Replica, of: str) -> str:
    """Why this store is none of the index `of`, empty if it is or may be. A store without marker may be refilled."""
    said = [replica.marker.lineage] if replica.marker else []
    said += [epoch.lineage for epoch in replica.epochs.values()]
    said += [record.lineage for record in replica.records.values()]
    for other in said:
        if other != of:
            return f"it belongs to another index (lineage {other}, not {of}); configure the right place"
    if replica.marker is None:
        for key in replica.store.list(""):
            if not key.startswith(OURS) and key != markers.REPLICA:
                return f"it is no replica and holds other things ({key}); configure the right place or empty it"
    return ""


def known(
    decided: Decided | None, found: Sequence[Replica], donated: Sequence[LogRecord] = ()
) -> tuple[Truth, dict[str, str]]:
    """What the index is, and by store name why a replica is none of it (see `forked`).

    `donated`: records that neither the catalog nor a replica has.
    """
    first = _truth(decided, found, donated)
    forks = {replica.store.name: forked(replica, first) for replica in found}
    rest = [replica for replica in found if not forks[replica.store.name]]
    return _truth(decided, rest, donated), {name: why for name, why in forks.items() if why}


def _truth(decided: Decided | None, found: Sequence[Replica], donated: Sequence[LogRecord]) -> Truth:
    """Of each version the record of the highest epoch; where two have the same, what most say."""
    of = lineage(decided, found)
    votes: dict[int, Counter[LogRecord]] = {}
    epochs: dict[int, Counter[markers.Epoch]] = {}
    said: list[Iterable[LogRecord]] = [replica.records.values() for replica in found]
    said += [decided.records.values()] if decided else []
    said.append(donated)
    for records in said:
        for record in records:
            votes.setdefault(record.version, Counter())[record] += 1
    for replica in found:
        for epoch in replica.epochs.values():
            epochs.setdefault(epoch.epoch, Counter())[epoch] += 1
    if decided is not None and decided.meta is not None:
        meta = decided.meta
        mine = markers.Epoch(framed.FORMAT, meta.lineage, meta.epoch, meta.epoch_id)
        epochs.setdefault(meta.epoch, Counter())[mine] += 1
    floor = max([replica.floor for replica in found] + [decided.floor if decided else 0], default=0)
    true: dict[int, LogRecord] = {}
    reached = 0
    for version, cast in sorted(votes.items()):
        best = _truest(cast)
        # Epochs never fall along a history: what an older one published after a newer had begun is no part of it.
        if version > floor and best.epoch >= reached:
            true[version], reached = best, best.epoch
    newest = epochs[max(epochs)] if epochs else None
    return Truth(of, newest.most_common(1)[0][0] if newest else None, floor, true)


def _truest(votes: Counter[LogRecord]) -> LogRecord:
    return max(votes, key=lambda record: (record.epoch, votes[record], record.txn))


def forked(replica: Replica, truth: Truth) -> str:
    """How this replica went its own way, empty if it did not: what it published is no part of this history."""
    for (version, epoch), record in sorted(replica.records.items()):
        true = truth.records.get(version)
        if true is not None and epoch == true.epoch and record != true:
            return f"its version {version} is not that of the other replicas"
        if version > truth.head:
            return f"its version {version} was given up when a later epoch than {epoch} began"
    return ""


def membership(decided: Decided | None, head: Manifest | None) -> Membership | None:
    """Who belongs to the index; None where only its replicas could say."""
    if head is not None:
        return head.membership
    if decided is not None and decided.meta is not None and not decided.records:
        try:
            return decode(decided.meta.membership, Membership)
        except msgspec.MsgspecError:
            return None
    return None


def member(marker: markers.Marker) -> Member:
    return Member(marker.id, marker.incarnation)


def manifest(stores: Sequence[Store], record: LogRecord) -> Manifest:
    """The manifest of one version, from whichever copy is good. Raises `Corrupt`, `Unavailable`, `WrongIndex`."""
    return replicas.read_manifest(stores, record.manifest, lambda _: None)


def needed(record: LogRecord, made: Manifest | None) -> Iterator[BlobRef]:
    """Every blob of one version, its manifest first."""
    yield record.manifest
    if made is not None:
        yield from manifests.closure(made).values()


def _decoded(store: Store, key: str, kind: type[framed._T], damaged: dict[str, str]) -> framed._T | None:
    """A framed file; None, and a note in `damaged` if there is one and it is not whole."""
    try:
        return framed.decode(store.get(key), kind, key)
    except FileNotFoundError:
        return None
    except Corrupt:
        damaged[key] = "is damaged"
    except Unavailable as error:
        list(store.list(markers.EPOCHS))  # is it the store, or only this file?
        damaged[key] = f"cannot be read ({error})"
    return None


def _floor(store: Store, damaged: dict[str, str]) -> int:
    """The newest version that has expired. A damaged marker counts: its name says all that it says."""
    newest = 0
    for key in store.list(markers.FLOORS):
        name = key.removeprefix(markers.FLOORS)
        if not (name.isascii() and name.isdigit() and len(name) == 12):
            continue
        newest = max(newest, int(name))
        found = _decoded(store, key, markers.Floor, damaged)
        if found is not None and markers.floor_key(found.version) != key:
            damaged[key] = f"holds version {found.version}"
    return newest
