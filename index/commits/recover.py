"""What opening an index for writing does first: finish what was decided, discard what was not, refuse the rest.

Every step may be repeated and may be cut short anywhere; the next open goes on. In order: the catalog is read, and
made again from the replicas where it is lost, damaged or behind them; each replica is admitted, made again, or left
out; transactions of dead writers are aborted; and every replica is brought to the head that the catalog decided.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from penstock.index.catalog.catalog import Catalog, Meta, Ratified
from penstock.index.catalog.locks import Locks
from penstock.index.commits import epochs, log, markers
from penstock.index.commits.admission import Admission, CatalogBehind, check_catalog_knows, first_incarnation
from penstock.index.commits.crew import Crew
from penstock.index.commits.replicas import LeftOut, Quorum, Reach, Replicas, Report, check_quorum, read_manifest
from penstock.index.decoding import decode
from penstock.index.errors import Corrupt, IndexFault, Unavailable, WrongIndex
from penstock.index.stores.store import LocalStore, Store
from penstock.index.types import Member, Membership

Token = Callable[[], str]
CRASH_POINTS = (
    "create.catalog",
    "replica.epoch",
    "replica.copied",
    "replica.marked",
    "replica.named",
    "replica.admitted",
    *epochs.CRASH_POINTS,
    "recover.aborted",
    "recover.published",
)
TURNS = 4
"""How often a catalog is made again in one opening: more than once only if somebody else does it too."""


@dataclass(frozen=True, slots=True)
class Site:
    """What an opening works with: the same for creating, opening and recovering.

    `leaving`: ids of members that are about to be removed or replaced, and need not answer. `donors`: where to read
    what no replica has whole.
    """

    catalog: Catalog
    stores: Mapping[str, Store]
    write_quorum: int
    workdir: Path
    locks: Locks
    crew: Crew
    token: Token
    report: Report
    reach: Reach
    leaving: frozenset[str] = frozenset()
    donors: Sequence[Store] = ()
    left_out: LeftOut = lambda replica, problem: None


def make(site: Site) -> None:
    """Decide what the new index is, in the catalog, unless that was done before. `opened` makes the replicas."""
    check_quorum(len(site.stores), site.write_quorum)
    if site.catalog.meta() is not None or holds_index(site.stores):
        return
    lineage = site.token()
    members = tuple(Member(name, first_incarnation(lineage, name)) for name in sorted(site.stores))
    membership = msgspec.json.encode(Membership(members, site.write_quorum)).decode()
    site.catalog.create(Meta(lineage, 1, site.token(), membership))
    site.reach("create.catalog")


def opened(site: Site) -> tuple[Meta, Membership, Replicas]:
    """Bring the index to a state that can be written. Returns what it is, and the replicas that take part.

    Raises `WrongIndex` (this is not the configured index), `Unavailable` (no catalog, or too few replicas),
    `Corrupt` (nothing good is left of something needed). Nothing is changed before those are ruled out.
    """
    check_quorum(len(site.stores), site.write_quorum)
    lock = site.locks.take("recover")
    try:
        for _ in range(TURNS):
            meta = _meta(site)
            if meta is None:
                continue
            head = site.catalog.head()
            try:
                membership = _membership(site, meta, head)
                check_membership(membership, site.stores, site.write_quorum)
                replicas = _admitted(site, meta, head, membership)
            except IndexFault:
                behind = _behind(site, meta)
                if behind is None:
                    raise
                # A catalog that does not know the newest version does not know who the replicas are, and its own
                # newest version may have expired.
                _begin_epoch(site, meta, f"was behind the replicas ({behind})")
                continue
            if replicas is None:
                continue
            _abort_dead(site)
            if head is not None:
                replicas.publish(site.catalog.since, head)
            site.reach("recover.published")
            return meta, membership, replicas
        raise Unavailable(f"catalog {site.catalog.name} was made again {TURNS} times and is still behind: run again")
    finally:
        if lock is not None:
            lock.release()


def holds_index(stores: Mapping[str, Store]) -> bool:
    """Whether any store holds a replica: making a new index beside it would orphan it.

    Raises `Unavailable` where none does and one of them cannot be looked at; a local directory that is absent can.
    """
    silent: Unavailable | None = None
    for store in stores.values():
        if isinstance(store, LocalStore) and not os.path.lexists(store.root):
            continue
        try:
            if markers.replica(store) is not None or log.entries(store):
                return True
        except Unavailable as fault:
            silent = fault
        except Corrupt:
            return True
    if silent is not None:
        raise Unavailable(f"whether there is an index already cannot be told: {silent}")
    return False


def _meta(site: Site) -> Meta | None:
    """What the catalog says it is; None if it was missing or damaged and has been made again just now."""
    why, meta = "was missing", None
    try:
        meta = site.catalog.meta()
        if meta is not None:
            site.catalog.migrate()
            site.catalog.snapshot()  # every row is what was written
            site.catalog.progress()
            return meta
    except Corrupt as damage:
        why = f"was damaged ({damage})"
    if holds_index(site.stores):
        _begin_epoch(site, None, why)
        return None
    if meta is None and (site.catalog.path is None or site.catalog.path.is_file()):
        make(site)  # a creation that died with the file, or the empty database, just made
        return site.catalog.meta()
    raise WrongIndex(f"there is no index at {site.catalog.name}; run `penstock init` or `penstock ingest`")


def _begin_epoch(site: Site, known: Meta | None, why: str) -> None:
    epochs.begin(
        site.catalog,
        site.stores,
        site.write_quorum,
        known,
        why=why,
        crew=site.crew,
        token=site.token,
        report=site.report,
        reach=site.reach,
        donors=site.donors,
    )


def _membership(site: Site, meta: Meta, head: Ratified | None) -> Membership:
    if head is None:
        return decode(meta.membership, Membership)
    return read_manifest([*site.stores.values(), *site.donors], head.ref, site.report).membership


def check_membership(membership: Membership, stores: Mapping[str, Store], write_quorum: int) -> None:
    """Raise `WrongIndex`, with the command that changes it, unless the configuration names these replicas."""
    have, want = {member.id for member in membership.replicas}, set(stores)
    added, gone = sorted(want - have), sorted(have - want)
    if added or gone:
        commands = [f"penstock replica add {name}" for name in added]
        commands += [f"penstock replica remove {name}" for name in gone]
        raise WrongIndex(
            f"the index has replicas {', '.join(sorted(have))}, the configuration {', '.join(sorted(want))}: put the "
            f"old ones back in [index] replicas, or change the index: {'; '.join(commands)}"
        )
    if membership.write_quorum != write_quorum:
        raise WrongIndex(
            f"the index has write_quorum {membership.write_quorum}, the configuration {write_quorum}: put it back in "
            f"[index] write_quorum, or change the index: penstock replica quorum {write_quorum}"
        )


def _behind(site: Site, meta: Meta) -> CatalogBehind | None:
    """What shows that the catalog is behind, on any replica of this lineage that answers; None if nothing does."""
    for store in site.stores.values():
        try:
            marker = markers.replica(store)
            if marker is not None and marker.lineage == meta.lineage:
                check_catalog_knows(site.catalog, meta, store)
        except CatalogBehind as behind:
            return behind
        except IndexFault:
            continue
    return None


def _admitted(site: Site, meta: Meta, head: Ratified | None, membership: Membership) -> Replicas | None:
    """The replicas, each looked at; None if one of them knew more than the catalog, which was made again."""
    admission = Admission(site.catalog, meta, head, membership, site.token, site.report, site.reach)
    staying = frozenset(site.stores) - site.leaving
    replicas = Replicas(
        site.stores,
        [Quorum(staying, min(site.write_quorum, len(staying)))],
        meta.lineage,
        (meta.epoch, meta.epoch_id),
        crew=site.crew,
        admit=admission,
        scratch=site.workdir / "copies",
        report=site.report,
        reach=site.reach,
        donors=site.donors,
        left_out=site.left_out,
    )
    admission.serve(replicas)
    outcomes = replicas.admit()
    faults = [fault for fault in outcomes.values() if fault is not None]
    for wrong in faults:
        if isinstance(wrong, WrongIndex):
            raise wrong
    behind = next((fault for fault in faults if isinstance(fault, CatalogBehind)), None)
    if behind is not None:
        _begin_epoch(site, meta, f"was behind the replicas ({behind})")
        return None
    replicas.require("be written", outcomes)
    return replicas


def _abort_dead(site: Site) -> None:
    """Abort the transactions of writers whose lock is free, and clear away what they were building."""
    owners: dict[str, list[str]] = {}
    for txn, owner in site.catalog.open_transactions():
        owners.setdefault(owner, []).append(txn)
    for folder in (site.workdir / "writers").glob("*"):
        owners.setdefault(folder.name, [])
    for owner, txns in sorted(owners.items()):
        held = site.locks.take(f"writer.{owner}", wait=False)
        if held is None:
            continue
        try:
            for txn in txns:
                site.catalog.settle(txn)
            site.reach("recover.aborted")
            shutil.rmtree(site.workdir / "writers" / owner, ignore_errors=True)
        finally:
            held.release()
