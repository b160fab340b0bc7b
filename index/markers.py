"""The two small files by which a replica says what it is: who it belongs to, and which epochs it has seen.

`replica.json` is put last when a replica is made, so a replica that has it is whole up to its log.
`epochs/{epoch:08d}` is put for each epoch of the catalog; a writer of a lower epoch that sees it must stop.
Both are framed (see `framed`), written once and never changed.
"""

from __future__ import annotations

import msgspec

from penstock.index import framed
from penstock.index.errors import Corrupt, WrongIndex
from penstock.index.store import Store

REPLICA = "replica.json"
EPOCHS = "epochs/"


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


def put(store: Store, key: str, marker: Marker | Epoch) -> None:
    """Put a marker; one that is there already must be the same. Raises `WrongIndex` if it is not."""
    data = framed.encode(marker)
    if not store.put_if_absent(key, data) and store.get(key) != data:
        raise WrongIndex(f"{store.name}/{key} belongs to another index or epoch; configure another place")
