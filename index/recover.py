"""What opening an index for writing does first: finish what was decided, discard what was not, refuse the rest.

Every step may be repeated and may be cut short anywhere; the next open goes on. In order: the catalog is read,
each replica is admitted or refused, absent local ones are made again, transactions of dead writers are aborted,
and every replica is brought to the head that the catalog decided.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from penstock.index import framed, log, markers
from penstock.index.catalog import Catalog, Meta, Ratified
from penstock.index.errors import Corrupt, IndexFault, Unavailable, WrongIndex
from penstock.index.liveness import FileLock
from penstock.index.rename import rename_noreplace
from penstock.index.replicas import Reach, Replicas, Report, check_quorum, record
from penstock.index.store import LocalStore, Store
from penstock.index.types import Member, Membership

Token = Callable[[], str]
CRASH_POINTS = (
    "create.catalog",
    "replica.epoch",
    "replica.copied",
    "replica.marked",
    "replica.named",
    "recover.aborted",
    "recover.published",
)


def make(catalog: Catalog, stores: Mapping[str, Store], write_quorum: int, token: Token, reach: Reach) -> None:
    """Decide what the new index is, in the catalog, unless that was done before. `opened` makes the replicas."""
    check_quorum(len(stores), write_quorum)
    if catalog.meta() is not None:
        return
    _refuse_orphans(catalog, stores)
    members = tuple(Member(name, token()) for name in sorted(stores))
    membership = msgspec.json.encode(Membership(members, write_quorum)).decode()
    catalog.create(Meta(token(), 1, token(), membership))
    reach("create.catalog")


def opened(
    catalog: Catalog,
    stores: Mapping[str, Store],
    write_quorum: int,
    workdir: Path,
    *,
    token: Token,
    report: Report,
    reach: Reach,
) -> tuple[Meta, Membership, Replicas]:
    """Bring the index to a state that can be written. Returns what it is, and the replicas that take part.

    Raises `WrongIndex` (this is not the configured index), `Unavailable` (no catalog, or too few replicas),
    `Corrupt` (nothing good is left of something needed). Nothing is changed before those are ruled out.
    """
    check_quorum(len(stores), write_quorum)
    lock = FileLock.take(workdir / "recover.lock")
    try:
        if catalog.path is not None and catalog.path.is_file():
            make(catalog, stores, write_quorum, token, reach)  # a creation that died with the file just made
        meta = catalog.meta()
        if meta is None:
            _refuse_orphans(catalog, stores)
            raise WrongIndex(f"there is no index at {catalog.name}; run `penstock init` or `penstock ingest`")
        replicas = Replicas(stores, write_quorum, meta.lineage, report, reach)
        head = catalog.head()
        membership = _membership(meta, head, replicas)
        _check_membership(membership, stores, write_quorum)
        _admit_all(catalog, meta, head, membership, replicas, token, report, reach)
        _abort_dead(catalog, workdir, reach)
        if head is not None:
            replicas.publish(catalog.since, head)
        reach("recover.published")
        return meta, membership, replicas
    finally:
        if lock is not None:
            lock.release()


def _membership(meta: Meta, head: Ratified | None, replicas: Replicas) -> Membership:
    if head is not None:
        return replicas.manifest(head.ref).membership
    return msgspec.json.decode(meta.membership, type=Membership)


def _check_membership(membership: Membership, stores: Mapping[str, Store], write_quorum: int) -> None:
    have = ", ".join(member.id for member in membership.replicas)
    if {member.id for member in membership.replicas} != set(stores):
        raise WrongIndex(
            f"the index has replicas {have}, the configuration {', '.join(sorted(stores))}: put the old ones back in "
            "[index] replicas (changing the replicas of an index is not built yet)"
        )
    if membership.write_quorum != write_quorum:
        raise WrongIndex(
            f"the index has write_quorum {membership.write_quorum}, the configuration {write_quorum}: put it back "
            "in [index] write_quorum (changing it is not built yet)"
        )


def _admit_all(
    catalog: Catalog,
    meta: Meta,
    head: Ratified | None,
    membership: Membership,
    replicas: Replicas,
    token: Token,
    report: Report,
    reach: Reach,
) -> None:
    """Leave in `replicas` only those that may be written; make again the local ones that are absent."""
    absent: list[tuple[Member, LocalStore]] = []
    out: list[IndexFault] = []
    for member in membership.replicas:
        store = replicas.stores[member.id]
        if isinstance(store, LocalStore) and not os.path.lexists(store.root):
            absent.append((member, store))
            continue
        try:
            _admit(catalog, meta, head, member, store, reach)
        except (Unavailable, Corrupt) as error:
            if isinstance(error, _CatalogBehind):
                raise
            report(f"replica {member.id} takes no part: {error}")
            out.append(error)
            del replicas.stores[member.id]
    for member, _ in absent:
        del replicas.stores[member.id]
    for member, store in absent:
        _rebuild(catalog, meta, head, member, store, replicas, token, reach)
        if head is not None:
            report(f"replica {member.id} was absent and has been made again at {store.name}")
        replicas.stores[member.id] = store
    if len(replicas.stores) < membership.write_quorum:
        raise Unavailable(
            f"{len(replicas.stores)} of {len(membership.replicas)} replicas can be written, "
            f"{membership.write_quorum} must; reading goes on: " + "; ".join(str(error) for error in out)
        )


class _CatalogBehind(Unavailable):
    """The catalog does not know what a replica published: it must not decide anything."""


def _admit(catalog: Catalog, meta: Meta, head: Ratified | None, member: Member, store: Store, reach: Reach) -> None:
    """Raise unless this store is that member of this index and the catalog knows all it has published."""
    found = markers.replica(store)
    if found is None:
        if head is not None or any(not key.startswith(markers.EPOCHS) for key in store.list("")):
            raise WrongIndex(
                f"replica {member.id}: {store.name} is there without its marker {markers.REPLICA} (is the disk "
                "mounted?); if it is lost, move what is there away and run again (`penstock repair` is not built yet)"
            )
        _mark(meta, member, store, reach)
        return
    if (found.lineage, found.id) != (meta.lineage, member.id):
        raise WrongIndex(
            f"replica {member.id}: {store.name} is replica {found.id} of another index (lineage {found.lineage}, "
            f"not {meta.lineage}) or another replica of this one; configure the right place"
        )
    if found.incarnation != member.incarnation:
        raise WrongIndex(
            f"replica {member.id}: {store.name} is an earlier incarnation of it; move it away and run again"
        )
    _check_catalog_knows(catalog, meta, store)
    markers.put(store, markers.epoch_key(meta.epoch), _epoch(meta))


def _check_catalog_knows(catalog: Catalog, meta: Meta, store: Store) -> None:
    seen, newest = markers.highest(store), log.newest(store, store.name)
    fenced = seen is not None and (
        seen.epoch > meta.epoch or (seen.epoch == meta.epoch and seen.epoch_id != meta.epoch_id)
    )
    ahead = False
    if newest is not None:
        # Asked after the log was read: what a live writer published meanwhile was decided before.
        decided = catalog.since(newest.version - 1)
        ahead = not decided or record(decided[0], meta.lineage) != newest
    if ahead or fenced:
        version = newest.version if newest else 0
        raise _CatalogBehind(
            f"catalog {catalog.name} does not know version {version} that {store.name} published: catalog lost or "
            "rolled back; reading goes on; rebuilding it is not built yet: put back its newest copy"
        )


def _refuse_orphans(catalog: Catalog, stores: Mapping[str, Store]) -> None:
    """Raise if a store holds an index although the catalog holds none: making a new one would orphan it."""
    for store in stores.values():
        if isinstance(store, LocalStore) and not os.path.lexists(store.root):
            continue
        marker, versions = markers.replica(store), log.entries(store)
        if marker is not None or versions:
            version = versions[-1][0] if versions else 0
            raise _CatalogBehind(
                f"catalog {catalog.name} is missing while {store.name} holds version {version}: catalog lost; "
                "reading goes on; rebuilding it is not built yet: put back its newest copy"
            )


def _mark(meta: Meta, member: Member, store: Store, reach: Reach) -> None:
    """Make an empty store a replica. Its own marker comes last."""
    markers.put(store, markers.epoch_key(meta.epoch), _epoch(meta))
    reach("replica.epoch")
    mine = markers.Marker(framed.FORMAT, meta.lineage, member.id, member.incarnation)
    markers.put(store, markers.REPLICA, mine)
    reach("replica.marked")


def _rebuild(
    catalog: Catalog,
    meta: Meta,
    head: Ratified | None,
    member: Member,
    store: LocalStore,
    replicas: Replicas,
    token: Token,
    reach: Reach,
) -> None:
    """Make an absent directory from the others, beside its place; its name appears when it is whole."""
    beside = store.root.with_name(store.root.name + ".rebuilding")
    fresh = LocalStore.create(beside, token=token)
    if head is not None:
        replicas.catch_up(fresh, catalog.since, head)
        reach("replica.copied")
    _mark(meta, member, fresh, reach)
    if not rename_noreplace(beside, store.root):
        raise Unavailable(f"{store.root} appeared while it was made again at {beside}: run again")
    folder = os.open(store.root.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    reach("replica.named")


def _abort_dead(catalog: Catalog, workdir: Path, reach: Reach) -> None:
    """Abort the transactions of writers whose lock is free, and clear away what they were building."""
    for path in sorted((workdir / "writers").glob("*.lock")):
        lock = FileLock.take(path, wait=False)
        if lock is None:
            continue
        for txn, owner in catalog.open_transactions():
            if owner == path.stem:
                catalog.settle(txn)
        reach("recover.aborted")
        shutil.rmtree(path.with_suffix(""), ignore_errors=True)
        lock.release(remove=True)


def _epoch(meta: Meta) -> markers.Epoch:
    return markers.Epoch(framed.FORMAT, meta.lineage, meta.epoch, meta.epoch_id)
