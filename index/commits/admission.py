"""Which replicas may be written: each is looked at before the first piece of work for it.

Admitted is the member that the index knows, at the catalog's epoch or before, that has published nothing the
catalog does not know. A local directory that is absent is made again from the others, beside its place, and named
when it is whole. What is there without its marker, or went back in time, is for `penstock repair`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

from penstock.index.blobs import framed
from penstock.index.catalog.catalog import Catalog, Meta, Ratified
from penstock.index.commits import log, markers
from penstock.index.commits.replicas import Reach, Replicas, Report, record
from penstock.index.errors import Unavailable, WrongIndex
from penstock.index.stores.analyze import refuse_liar
from penstock.index.stores.rename import rename_noreplace
from penstock.index.stores.store import LocalStore, Store
from penstock.index.stores.stores import is_remote
from penstock.index.types import Member, Membership


class CatalogBehind(Unavailable):
    """The catalog does not know what a replica published, or a newer epoch has begun: it must decide nothing."""


class Admission:
    """Decides for each member of one index, as the catalog has it now. `serve` gives it the set to copy from."""

    def __init__(
        self,
        catalog: Catalog,
        meta: Meta,
        head: Ratified | None,
        membership: Membership,
        token: Callable[[], str],
        report: Report,
        reach: Reach,
    ) -> None:
        self._catalog, self._meta, self._head = catalog, meta, head
        self._members = {member.id: member for member in membership.replicas}
        self._token, self._report, self._reach = token, report, reach
        self._floor = catalog.floor()
        self._progress = catalog.progress()
        self._replicas: Replicas | None = None

    def serve(self, replicas: Replicas) -> None:
        self._replicas = replicas

    def __call__(self, name: str, store: Store) -> None:
        """Raise unless this store may be written as replica `name`; make it again if it is an absent directory."""
        member = self._members[name]
        vet(store)
        if isinstance(store, LocalStore) and not os.path.lexists(store.root):
            self._rebuild(member, store)
            return
        found = markers.replica(store)
        if found is None:
            self._begin(member, store)
            return
        check_member(found, self._meta.lineage, member, store)
        check_catalog_knows(self._catalog, self._meta, store)
        self._check_not_gone_back(name, store)
        self._note_epoch(store)

    def _begin(self, member: Member, store: Store) -> None:
        """Make an empty store a replica, while the index has no version yet."""
        known = (markers.EPOCHS, markers.FLOORS)
        if self._head is not None or any(not key.startswith(known) for key in store.list("")):
            raise Unavailable(
                f"replica {member.id}: {store.name} is there without its marker {markers.REPLICA} (is the disk "
                "mounted?); if what was there is lost, `penstock repair` fills it again"
            )
        mark(self._meta, member, store, self._reach)

    def _check_not_gone_back(self, name: str, store: Store) -> None:
        newest = log.entries(store)[-1:]
        had, has = self._progress.get(name, 0), newest[0][0] if newest else 0
        if has < had:
            raise Unavailable(
                f"replica {name}: {store.name} went back in time: it publishes version {has} and had published "
                f"{had}; `penstock repair` makes it whole again"
            )

    def _note_epoch(self, store: Store) -> None:
        lineage = self._meta.lineage
        markers.put(store, markers.epoch_key(self._meta.epoch), epoch_marker(self._meta))
        if self._floor:
            markers.put(store, markers.floor_key(self._floor), markers.Floor(framed.FORMAT, lineage, self._floor))

    def _rebuild(self, member: Member, store: LocalStore) -> None:
        """Make an absent directory from the others, beside its place; its name appears when it is whole."""
        beside = store.root.with_name(store.root.name + ".rebuilding")
        fresh = LocalStore.create(beside, token=self._token)
        if self._head is not None:
            assert self._replicas is not None
            self._note_epoch(fresh)
            self._replicas.catch_up(member.id, fresh, self._catalog.since, self._head)
            self._reach("replica.copied")
        mark(self._meta, member, fresh, self._reach)
        if not rename_noreplace(beside, store.root):
            raise Unavailable(f"{store.root} appeared while it was made again at {beside}: run again")
        folder = os.open(store.root.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._reach("replica.named")
        if self._head is not None:
            self._report(f"replica {member.id} was absent and has been made again at {store.name}")


def check_catalog_knows(catalog: Catalog, meta: Meta, store: Store) -> None:
    """Raise `CatalogBehind` if this replica of the lineage shows that the catalog is lost or went back.

    `Unavailable` for a replica that published, in an epoch that is over, what that epoch did not leave to this one.
    """
    seen, newest = markers.highest(store), log.newest(store, store.name)
    if seen is not None and markers.supersedes(seen, meta.epoch, meta.epoch_id):
        raise CatalogBehind(f"{store.name} has seen epoch {seen.epoch}, the catalog is in {meta.epoch}")
    # All asked after the replica: what a live writer published, or let expire, meanwhile was decided before.
    if markers.floor(store) > catalog.floor():
        raise CatalogBehind(f"catalog {catalog.name} does not know what has expired on {store.name}")
    if newest is None or newest.version <= catalog.floor():
        return
    decided = catalog.since(newest.version - 1)
    at = decided[0] if decided and decided[0].version == newest.version else None
    if at is None and newest.version <= catalog.floor():
        return
    if at is not None and (record(at, meta.lineage) == newest or newest.epoch < at.epoch):
        return
    if newest.epoch == meta.epoch:
        raise CatalogBehind(f"catalog {catalog.name} does not know version {newest.version} of {store.name}")
    # An older epoch's: this one began with what enough replicas had, so nobody was ever told of it.
    if at is not None:
        raise Unavailable(
            f"{store.name} published another version {newest.version} than the index has, in an epoch that is over; "
            "`penstock repair` says more"
        )


def first_incarnation(lineage: str, name: str) -> str:
    """The incarnation of a member that the index was made with. It follows from the lineage, so that it can be told
    without a catalog while no version says it yet."""
    return hashlib.sha256(f"{lineage}/{name}".encode()).hexdigest()[:16]


def vet(store: Store) -> None:
    """Raise `WrongIndex` for a server that does not keep the promises of a store: it would lose data later."""
    if is_remote(store):
        refuse_liar(store)


def check_member(found: markers.Marker, lineage: str, member: Member, store: Store) -> None:
    """Raise `WrongIndex` unless the marker is that of `member` of the index `lineage`."""
    if found.lineage != lineage:
        raise WrongIndex(
            f"replica {member.id}: {store.name} holds another index (lineage {found.lineage}, not {lineage}); "
            "configure the right place"
        )
    if found.id != member.id:
        raise WrongIndex(
            f"replica {member.id}: {store.name} is replica {found.id} of this index, another replica; configure each "
            "in its own place"
        )
    if found.incarnation != member.incarnation:
        raise WrongIndex(
            f"replica {member.id}: {store.name} is another incarnation of it, that was replaced; configure where "
            f"replica {member.id} is now, or give the same `penstock replica replace {member.id} PLACE` again"
        )


def mark(meta: Meta, member: Member, store: Store, reach: Reach) -> None:
    """Make a store that has all it needs a replica. Its own marker comes last."""
    markers.put(store, markers.epoch_key(meta.epoch), epoch_marker(meta))
    reach("replica.epoch")
    mine = markers.Marker(framed.FORMAT, meta.lineage, member.id, member.incarnation)
    markers.put(store, markers.REPLICA, mine)
    reach("replica.marked")


def epoch_marker(meta: Meta) -> markers.Epoch:
    return markers.Epoch(framed.FORMAT, meta.lineage, meta.epoch, meta.epoch_id)
