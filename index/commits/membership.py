"""Which replicas the index has, changed by commits: add, remove, replace, and the write quorum.

A new member gets all that the others have before the commit that names it; its marker comes before that commit,
so a change that was cut short is simply begun again. The commit counts on the new replica set, and on what stays
of the old one: no catalog that is made again from either can miss it.
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock.index.blobs import framed
from penstock.index.commits import epochs, log, markers
from penstock.index.commits.admission import mark, vet
from penstock.index.commits.attempt import Attempt
from penstock.index.commits.commit import Writer
from penstock.index.commits.replicas import Quorum, check_quorum
from penstock.index.errors import Unavailable, WrongIndex
from penstock.index.stores.store import Store
from penstock.index.types import Manifest, Member, Membership


def add(writer: Writer, name: str, store: Store, write_quorum: int | None = None) -> int:
    """Make `store` replica `name`, with everything in it; return the version that says so.

    `write_quorum` None: most of the new number of replicas, and no less than before. Raises `WrongIndex` where the
    store holds something else, `ValueError` for an id that is taken or a quorum that is no majority.
    """
    if name in writer.replicas.stores:
        raise ValueError(f"replica {name} is there already; `penstock replica replace {name}` moves it")
    return _change(writer, {**writer.replicas.stores, name: store}, {name: store}, write_quorum)


def replace(writer: Writer, name: str, store: Store) -> int:
    """Make `store` replica `name` in the place of the one that has been; return the version that says so.

    Open the writer with `leaving={name}` where the old one does not answer. The old one is never written again.
    """
    if name not in writer.replicas.stores:
        raise ValueError(f"there is no replica {name}; `penstock replica add {name}` makes one")
    return _change(writer, {**writer.replicas.stores, name: store}, {name: store}, None)


def remove(writer: Writer, name: str, write_quorum: int | None = None) -> int:
    """Go on without replica `name`; return the version that says so. What lies there is left as it is."""
    if name not in writer.replicas.stores:
        raise ValueError(f"there is no replica {name}")
    staying = {other: store for other, store in writer.replicas.stores.items() if other != name}
    if not staying:
        raise ValueError(f"replica {name} is the last one; add another first")
    return _change(writer, staying, {}, write_quorum)


def set_quorum(writer: Writer, write_quorum: int) -> int:
    """Change how many replicas must have a commit before it counts; return the version that says so."""
    return _change(writer, writer.replicas.stores, {}, write_quorum)


def _change(writer: Writer, stores: Mapping[str, Store], new: Mapping[str, Store], write_quorum: int | None) -> int:
    head = writer.head()
    if head.version == 0:
        raise WrongIndex("the index has no version yet: change [index] replicas before the first ingest")
    old = head.membership
    if write_quorum is None:
        # As many as before where that is possible, and always most of them.
        write_quorum = max(len(stores) // 2 + 1, min(old.write_quorum, len(stores)))
    check_quorum(len(stores), write_quorum)
    made = {name: _prepared(writer, name, store) for name, store in new.items()}
    known = {member.id: member for member in old.replicas}
    membership = Membership(tuple(made.get(name) or known[name] for name in sorted(stores)), write_quorum)
    if membership == old:
        return head.version

    def change(attempt: Attempt) -> Manifest | None:
        if attempt.head.membership == membership:
            return None
        if attempt.head.membership != old:
            raise WrongIndex("the replicas were changed by somebody else meanwhile: look at them and run again")
        return attempt.next(membership=membership)

    staying = frozenset(stores) & frozenset(known) - frozenset(new)
    quorums = [Quorum(frozenset(stores), write_quorum), Quorum(staying, min(old.write_quorum, len(staying)))]
    writer.site.reach("member.copied")
    writer.replicas.reform(stores, [quorum for quorum in quorums if quorum.ids], admitted=frozenset(new))
    writer.memberships = (old, membership)
    version = writer.advance(change)
    writer.memberships = (membership,)
    return version


def _prepared(writer: Writer, name: str, store: Store) -> Member:
    """Give a new member everything up to the head, and its marker; return what the manifest will call it."""
    vet(store)
    store.probe()
    history = epochs.look(store)
    if history is not None and (history.marker.lineage, history.marker.id) != (writer.meta.lineage, name):
        raise WrongIndex(
            f"{store.name} is replica {history.marker.id} of another index, or another replica of this one; choose an "
            "empty place"
        )
    if history is None and any(not key.startswith(_UNFINISHED) for key in store.list("")):
        raise WrongIndex(f"{store.name} is not empty; choose an empty place for the replica")
    head = writer.site.catalog.head()
    if head is None:
        raise Unavailable("the index has no version yet")
    floor = writer.site.catalog.floor()
    if floor:
        expired = markers.Floor(framed.FORMAT, writer.meta.lineage, floor)
        markers.put(store, markers.floor_key(floor), expired)
    writer.replicas.catch_up(name, store, writer.site.catalog.since, head)
    if history is None:
        member = Member(name, writer.site.token())
        mark(writer.meta, member, store, writer.site.reach)
        return member
    return Member(name, history.marker.incarnation)


_UNFINISHED = (markers.EPOCHS, markers.FLOORS, log.PREFIX, "blobs/")
"""What a change that was cut short may have left; the copy checks it against the index."""
