"""A new epoch: the catalog is made again from what the replicas published, and whoever still writes is fenced.

In this order: the members are found out; the new epoch's marker is put on at least N-W+1 of them; only then are
their logs read; the history is adopted; the catalog is replaced. A writer of the old epoch acknowledges only what
W replicas published without a later marker, and any W and any N-W+1 replicas share one: either its record was
there when the logs were read, or it sees the marker and stops. All of it may be cut short and begun again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from penstock.index.catalog.catalog import Catalog, Meta, Ratified
from penstock.index.commits import log, markers
from penstock.index.commits.admission import check_member, epoch_marker, first_incarnation
from penstock.index.commits.crew import Crew
from penstock.index.commits.replicas import Quorum, Reach, Report, ratified, read_manifest
from penstock.index.decoding import decode
from penstock.index.errors import Corrupt, IndexFault, Unavailable, WrongIndex
from penstock.index.recovery import donor
from penstock.index.stores.store import Store
from penstock.index.types import Manifest, Member, Membership

CRASH_POINTS = ("epoch.marked.one", "epoch.marked", "epoch.rebuilt")


@dataclass(frozen=True, slots=True)
class History:
    """What one replica says: its marker, the last epoch it saw, what expired, and its log.

    `damaged`: keys of records that are there and cannot be read.
    """

    marker: markers.Marker
    epoch: int
    floor: int
    records: dict[tuple[int, int], log.LogRecord]
    damaged: frozenset[tuple[int, int]]

    @property
    def keys(self) -> frozenset[tuple[int, int]]:
        return frozenset(self.records) | self.damaged


def begin(
    catalog: Catalog,
    stores: Mapping[str, Store],
    write_quorum: int,
    known: Meta | None,
    *,
    why: str,
    crew: Crew,
    token: Callable[[], str],
    report: Report,
    reach: Reach,
    donors: Sequence[Store] = (),
) -> None:
    """Replace the catalog. `known` is what it says of itself, if it can be read; `why` goes to the operator.

    `donors` bear no witness: they give what the witnesses lost.

    Raises `Unavailable` when fewer than N-W+1 replicas can bear witness, `Corrupt` when a version that may have been
    acknowledged cannot be read anywhere, `WrongIndex` when the replicas are not those of one index.
    """
    told, faults = _histories(stores, crew, len(stores) - write_quorum + 1)
    lineage = _lineage(told, stores, known)
    every = [*(stores[name] for name in sorted(stores)), *donors]
    donated = _donated(told, lineage, donors, stores, report)
    found = _members(told, donated, every, report)
    membership = found or _first_members(told, stores, lineage, write_quorum, known)
    # The quorum that counts is the index's, not the configuration's.
    enough = len(membership.replicas) - membership.write_quorum + 1
    told = _those_of(told, lineage, membership, stores)
    _require(told, membership, enough, faults, why)
    seen = [*(history.epoch for history in told.values()), *(record.epoch for record in donated)]
    epoch = max([0 if known is None else known.epoch, *seen]) + 1
    meta = Meta(lineage, epoch, token(), msgspec.json.encode(membership).decode())
    marked = _mark({name: stores[name] for name in told}, meta, crew, enough, reach)
    reach("epoch.marked")
    told, faults = _histories({name: stores[name] for name in marked}, crew, enough)
    told = _those_of(told, lineage, membership, stores)
    _require(told, membership, enough, faults, why)
    donated = [record for record in _donated(told, lineage, donors, stores, report) if record.epoch < epoch]
    chain, floor = _adopt(told, donated, membership, enough, [*(stores[name] for name in told), *donors], report)
    if chain and _membership_of(chain[-1], every, report) != membership:
        raise Unavailable("the replicas of the index changed while its catalog was made again: run again")
    catalog.rebuild(meta, chain, floor)
    reach("epoch.rebuilt")
    head = chain[-1].version if chain else 0
    report(f"the catalog {why}: it was made again from {len(told)} replicas at version {head}, in epoch {epoch}")


def look(store: Store) -> History | None:
    """What one replica says; None if it has no marker. Raises `Unavailable`, `Corrupt`, `WrongIndex`."""
    marker = markers.replica(store)
    if marker is None:
        return None
    seen = markers.highest(store)
    records: dict[tuple[int, int], log.LogRecord] = {}
    damaged = set()
    for key in sorted(filter(None, map(log.parse, store.list(log.PREFIX)))):
        try:
            records[key] = log.read(store, *key, store.name)
        except (Corrupt, FileNotFoundError):
            damaged.add(key)
    return History(marker, seen.epoch if seen else 0, markers.floor(store), records, frozenset(damaged))


def _histories(stores: Mapping[str, Store], crew: Crew, enough: int) -> tuple[dict[str, History], list[str]]:
    told: dict[str, History] = {}

    def ask(name: str) -> Callable[[], None]:
        def run() -> None:
            history = look(stores[name])
            if history is not None:
                told[name] = history

        return run

    quorum = Quorum(frozenset(stores), enough)
    outcomes = crew.each({name: ask(name) for name in stores}, quorum.met)
    wrong = next((fault for fault in outcomes.values() if isinstance(fault, WrongIndex)), None)
    if wrong is not None:
        raise wrong
    faults = [str(fault) for fault in outcomes.values() if fault is not None]
    faults += [f"{stores[name].name}: no answer" for name in stores.keys() - outcomes.keys()]
    return {name: told[name] for name in sorted(told) if outcomes.get(name, 0) is None}, faults


def _lineage(told: Mapping[str, History], stores: Mapping[str, Store], known: Meta | None) -> str:
    """Whose index this is."""
    lineages = {history.marker.lineage for history in told.values()}
    if len(lineages) > 1 or (known is not None and lineages - {known.lineage}):
        names = ", ".join(stores[name].name for name in told)
        raise WrongIndex(f"{names}: these replicas belong to another index than the rest; configure the right places")
    if not lineages:
        raise Unavailable("no replica can say what the catalog must hold; bring a replica back, or restore a snapshot")
    return lineages.pop()


def _donated(
    told: Mapping[str, History], lineage: str, donors: Sequence[Store], stores: Mapping[str, Store], report: Report
) -> list[log.LogRecord]:
    """The records that the witnesses lost, or had published before they went back, and a donor has."""
    known = [record for history in told.values() for record in history.records.values()]
    damaged = {key for history in told.values() for key in history.damaged}
    floor = max((history.floor for history in told.values()), default=0)
    at_hand = [stores[name] for name in told]
    return donor.records(donors, lineage, known, damaged, floor, at_hand, report, newer=True)


def _members(
    told: Mapping[str, History], donated: Sequence[log.LogRecord], stores: Sequence[Store], report: Report
) -> Membership | None:
    """Who the replicas are: what the newest version says that can be read; None if there is none."""
    records = [*donated, *(record for history in told.values() for record in history.records.values())]
    for version in sorted({record.version for record in records}, reverse=True):
        newest = max((record for record in records if record.version == version), key=lambda record: record.epoch)
        try:
            return _membership_of(ratified(newest), stores, report)
        except IndexFault as fault:
            report(f"version {version}: {fault}")
    return None


def _first_members(
    told: Mapping[str, History], stores: Mapping[str, Store], lineage: str, write_quorum: int, known: Meta | None
) -> Membership:
    """Who they are before the first version."""
    if known is not None:
        return decode(known.membership, Membership)
    has = {name: history.marker.incarnation for name, history in told.items()}
    members = tuple(Member(name, has.get(name) or first_incarnation(lineage, name)) for name in sorted(stores))
    return Membership(members, write_quorum)


def _membership_of(version: Ratified, stores: Sequence[Store], report: Report) -> Membership:
    return read_manifest(stores, version.ref, report).membership


def _those_of(
    told: Mapping[str, History], lineage: str, membership: Membership, stores: Mapping[str, Store]
) -> dict[str, History]:
    """The members that told something. Raises `WrongIndex` for a stranger in a member's place."""
    members = {member.id: member for member in membership.replicas}
    for name in told.keys() & members.keys():
        check_member(told[name].marker, lineage, members[name], stores[name])
    return {name: history for name, history in told.items() if name in members}


def _require(told: Mapping[str, History], membership: Membership, enough: int, faults: list[str], why: str) -> None:
    if len(told) >= enough:
        return
    said = "; ".join(faults) or "the others have no marker"
    raise Unavailable(
        f"the catalog {why}, and {len(told)} of {len(membership.replicas)} replicas can say what it held, {enough} "
        f"must; reading goes on; bring a replica back and run again: {said}"
    )


def _mark(stores: Mapping[str, Store], meta: Meta, crew: Crew, enough: int, reach: Reach) -> list[str]:
    """Put the epoch's marker; the ids of those that have it. Raises `Unavailable` if that is not enough."""

    def put(store: Store) -> Callable[[], None]:
        def run() -> None:
            markers.put(store, markers.epoch_key(meta.epoch), epoch_marker(meta))
            reach("epoch.marked.one")

        return run

    outcomes = crew.each({name: put(store) for name, store in stores.items()}, Quorum(frozenset(stores), enough).met)
    marked = sorted(name for name, fault in outcomes.items() if fault is None)
    if len(marked) < enough:
        said = "; ".join(str(fault) for fault in outcomes.values() if fault is not None)
        raise Unavailable(f"a new epoch could be noted on {len(marked)} replicas, {enough} must: run again: {said}")
    return marked


def _adopt(
    told: Mapping[str, History],
    donated: Sequence[log.LogRecord],
    membership: Membership,
    enough: int,
    stores: list[Store],
    report: Report,
) -> tuple[list[Ratified], int]:
    """The chain of versions that the replicas published, oldest first, and the version before the first of them."""
    floor = max(history.floor for history in told.values())
    held = [*donated, *(record for history in told.values() for record in history.records.values())]
    records = set(held)
    _check_damage(told, {(record.version, record.epoch) for record in donated}, membership, enough, floor)
    candidates = sorted({(r.version, r.epoch) for r in records if r.version > floor}, reverse=True)
    chain: list[Ratified] = []
    manifest: Manifest | None = None
    while candidates and manifest is None:
        newest = _one_of([r for r in held if (r.version, r.epoch) == candidates[0]], told, membership, enough)
        try:
            manifest = read_manifest(stores, newest.manifest, report)
            chain = [ratified(newest)]
        except IndexFault as fault:
            lack = sum(candidates[0] not in history.keys for history in told.values())
            if lack < enough:
                raise Corrupt(
                    f"version {newest.version} was published and its manifest cannot be read on any replica: bring "
                    f"back another replica and run again ({fault})"
                ) from fault
            # Replicas without it share one with every W: it was never acknowledged.
            report(f"version {newest.version} was never acknowledged and cannot be read: it is given up")
            candidates.pop(0)
    while manifest is not None and chain[-1].version > floor + 1:
        chain_on = _before(records, chain[-1].version, manifest.parent)
        manifest = None
        if chain_on is not None:
            chain.append(ratified(chain_on))
            try:
                manifest = read_manifest(stores, chain_on.manifest, report)
            except IndexFault as fault:
                report(f"version {chain_on.version}: {fault}; versions before it are not kept")
                chain.pop()
    chain.reverse()
    return chain, (chain[0].version - 1 if chain else floor)


def _one_of(
    held: list[log.LogRecord], told: Mapping[str, History], membership: Membership, enough: int
) -> log.LogRecord:
    """The record that counts, of those that witnesses hold under one name: of two, one was never acknowledged.

    A catalog that was put back under a running writer may decide a version twice in one epoch; only one of the two can
    lie on W replicas. Raises `Unavailable` where too many did not answer to tell which.
    """
    holders = Counter(held)
    silent = len(membership.replicas) - len(told)
    write_quorum = len(membership.replicas) - enough + 1
    possible = [record for record, count in holders.items() if count + silent >= write_quorum]
    if len(holders) > 1 and len(possible) > 1:
        raise Unavailable(
            f"the replicas hold two versions {held[0].version}, and too few answer to tell which of them was "
            "acknowledged; bring another replica back and run again"
        )
    return possible[0] if len(possible) == 1 else max(holders, key=lambda record: (holders[record], record.txn))


def _before(records: Iterable[log.LogRecord], version: int, parent: str) -> log.LogRecord | None:
    """The record of the version before: of several the one that `parent` names."""
    return next((r for r in records if r.version == version - 1 and r.manifest.name == parent), None)


def _check_damage(
    told: Mapping[str, History],
    donated: set[tuple[int, int]],
    membership: Membership,
    enough: int,
    floor: int,
) -> None:
    """Raise `Corrupt` unless damaged records leave enough whole witnesses, or every one is whole elsewhere.

    A witness whose damaged records a donor has is whole: what it published is known.
    """
    records = donated | {key for history in told.values() for key in history.records}
    lost = {key for history in told.values() for key in history.damaged if key[0] > floor} - records
    whole = sum(not history.damaged - donated for history in told.values())
    if whole >= enough and not lost:
        return
    if whole >= enough or (len(told) == len(membership.replicas) and not lost):
        return
    versions = ", ".join(str(version) for version, _ in sorted(lost)) or "some"
    raise Corrupt(
        f"the log of {len(told) - whole} replicas is damaged (version {versions}), and too few others can say what "
        "was published; bring another replica back and run again, or restore a snapshot"
    )
