"""The small files by which a replica says what it is: whose it is, which epochs it has seen, what has expired.

`replica.json` is put last when a replica is made, so a replica that has it is whole up to its log.
`epochs/{epoch:08d}` is put for each epoch of the catalog; a writer of a lower epoch that sees it must stop.
Both are framed (see `framed`), written once and never changed.
"""

from __future__ import annotations

import msgspec

from penstock.index.blobs import framed
from penstock.index.errors import Corrupt, WrongIndex
from penstock.index.stores.store import Store

REPLICA = "replica.json"
EPOCHS = "epochs/"
FLOORS = "floors/"


class Marker(msgspec.Struct, frozen=True):
    """This replica is member `id` of the index `lineage`, made as `incarnation`."""

    format: int
    lineage: str
    id: str
    incarnation: str


class Epoch(msgspec.Struct, frozen=True):
    """The catalog of `lineage` was in this epoch; `epoch_id` is random, so two rebuilt catalogs differ."""

    format: int
    lineage: str
    epoch: int
    epoch_id: str


def replica(store: Store) -> Marker | None:
    """The replica's own marker, None when there is none. Raises `Corrupt`, `WrongIndex`, `Unavailable`."""
    try:
        data = store.get(REPLICA)
    except FileNotFoundError:
        return None
    return framed.decode(data, Marker, f"{store.name}/{REPLICA}")


def epoch_key(epoch: int) -> str:
    return f"{EPOCHS}{epoch:08d}"


def highest(store: Store) -> Epoch | None:
    """The newest epoch that this replica has seen. Raises `Corrupt` for a marker that contradicts its name."""
    known = [name for name in store.list(EPOCHS) if name.removeprefix(EPOCHS).isdigit()]
    if not known:
        return None
    try:
        found = framed.decode(store.get(known[-1]), Epoch, f"{store.name}/{known[-1]}")
    except FileNotFoundError as error:
        raise Corrupt(f"{store.name}/{known[-1]} is listed and not there; run `penstock verify`") from error
    if epoch_key(found.epoch) != known[-1]:
        raise Corrupt(f"{store.name}/{known[-1]} holds epoch {found.epoch}; run `penstock verify`")
    return found


def supersedes(seen: Epoch, epoch: int, epoch_id: str) -> bool:
    """Whether `seen` ends the writing of (`epoch`, `epoch_id`): it is later, or as late and another."""
    return seen.epoch > epoch or (seen.epoch == epoch and seen.epoch_id != epoch_id)


class Floor(msgspec.Struct, frozen=True):
    """The versions up to `version` have expired: their records, and blobs that only they need, may go.

    Put on as many replicas as a commit needs before anything is deleted, so that no catalog that is made from
    the logs ever takes such a version for a whole one.
    """

    format: int
    lineage: str
    version: int


def floor_key(version: int) -> str:
    return f"{FLOORS}{version:012d}"


def floor(store: Store) -> int:
    """The newest version that has expired on this replica, 0 if none. Raises `Corrupt`, `Unavailable`."""
    known = [name for name in store.list(FLOORS) if name.removeprefix(FLOORS).isdigit()]
    if not known:
        return 0
    try:
        found = framed.decode(store.get(known[-1]), Floor, f"{store.name}/{known[-1]}")
    except FileNotFoundError as error:
        raise Corrupt(f"{store.name}/{known[-1]} is listed and not there; run `penstock verify`") from error
    if floor_key(found.version) != known[-1]:
        raise Corrupt(f"{store.name}/{known[-1]} holds version {found.version}; run `penstock verify`")
    return found.version


def put(store: Store, key: str, marker: Marker | Epoch | Floor) -> None:
    """Put a marker; one that is there already must be the same. Raises `WrongIndex` if it is not."""
    data = framed.encode(marker)
    if not store.put_if_absent(key, data) and store.get(key) != data:
        raise WrongIndex(f"{store.name}/{key} belongs to another index or epoch; configure another place")
