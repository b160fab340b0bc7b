"""What would stop a writer, looked for without walking the index: small files of each replica, and the catalog.

Reads only. It is what opening for writing checks, without the changes that opening makes; what lies in big
files is for `verify`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from penstock.flows.exits import outcome
from penstock.index import blob, log, markers
from penstock.index.errors import Corrupt, IndexFault
from penstock.index.types import Manifest, Member, Membership

if TYPE_CHECKING:
    from penstock.index.catalog import Catalog
    from penstock.index.log import LogRecord
    from penstock.index.markers import Marker
    from penstock.index.store import Store


class Health(msgspec.Struct, frozen=True):
    """What stops every writer: `misconfigured` says that the settings are not this index's, `obstacles` the rest.

    `decided` is the catalog's newest version, 0 if not known.
    """

    misconfigured: str = ""
    obstacles: list[str] = []
    warnings: list[str] = []
    decided: int = 0


def unfit(store: Store) -> str:
    """Why a writer would not take this replica, "" if it would: its markers and its newest log record."""
    try:
        markers.replica(store)
        markers.highest(store)
        log.newest(store, store.name)
    except (IndexFault, OSError) as error:
        return str(error)
    return ""


def absent(store: Store) -> bool:
    """Whether the store is a folder of this machine that is not there."""
    root: Path | None = getattr(store, "root", None)
    return root is not None and not os.path.lexists(root)


def damaged(store: Store) -> str:
    """What is wrong with the newest manifest of a replica whose log can be read, "" if nothing is."""
    newest = log.newest(store, store.name)
    if newest is None:
        return ""
    try:
        key = blob.key(newest.manifest)
        blob.check(store.local_path(key) or store.get(key), newest.manifest)
    except FileNotFoundError:
        return f"{store.name}: the manifest of version {newest.version} is missing; run penstock verify"
    except (IndexFault, OSError) as error:
        return str(error)
    return ""


def look(stores: Mapping[str, Store], manifest: Manifest | None, write_quorum: int, catalog_url: str) -> Health:
    """Compare configuration, replicas and catalog, as opening for writing does."""
    # The logs are read before the catalog: what is published meanwhile was decided before.
    published = _published(list(stores.values()))
    obstacles: list[str] = []
    warnings: list[str] = []
    decided, membership = 0, manifest.membership if manifest and manifest.version else None
    try:
        from penstock.index.catalog import Catalog

        catalog = Catalog(catalog_url)
        first = _of_catalog(catalog, published, list(stores.values()))
        membership = membership or first
        known = catalog.head()
        decided = known.version if known else 0
    except ModuleNotFoundError as error:
        said = outcome(error)[2]
        ours = (error.name or "").partition(".")[0] == "sqlalchemy"
        (warnings if ours else obstacles).append(f"the catalog was not looked at: {said}" if ours else said)
    except IndexFault as error:
        obstacles.append(str(error))
    if membership is None:
        return Health("", obstacles, warnings, decided)
    obstacles += _strangers(stores, manifest, membership)
    return Health(_misconfigured(membership, list(stores), write_quorum), obstacles, warnings, decided)


def _published(stores: Sequence[Store]) -> LogRecord | None:
    """The newest record that any replica has and that can be read."""
    best: LogRecord | None = None
    for store in stores:
        try:
            found = log.newest(store, store.name)
        except (IndexFault, OSError):
            continue  # said by `unfit`
        if found is not None and (best is None or (found.version, found.epoch) > (best.version, best.epoch)):
            best = found
    return best


def _of_catalog(catalog: Catalog, published: LogRecord | None, stores: Sequence[Store]) -> Membership | None:
    """The membership of version 0. Raises `IndexFault` unless the catalog knows what is published."""
    meta = catalog.meta()
    version = published.version if published else 0
    fix = "reading goes on; put back its newest copy"
    if meta is None:
        if not all(absent(store) for store in stores):
            raise Corrupt(f"catalog {catalog.name} is missing, the replicas are at version {version}; {fix}")
        return None
    if published is not None:
        known = catalog.since(version - 1)
        if not known or (known[0].txn, known[0].ref) != (published.txn, published.manifest):
            raise Corrupt(f"catalog {catalog.name} does not know version {version}, which is published; {fix}")
    return msgspec.json.decode(meta.membership, type=Membership)


def _misconfigured(membership: Membership, configured: Sequence[str], write_quorum: int) -> str:
    have = sorted(member.id for member in membership.replicas)
    if have != sorted(configured):
        return (
            f"the index has replicas {', '.join(have)}, the configuration {', '.join(sorted(configured))}; "
            "put the old ones back in [index] replicas"
        )
    if membership.write_quorum != write_quorum:
        return (
            f"the index has write_quorum {membership.write_quorum}, the configuration {write_quorum}; "
            "put it back in [index] write_quorum"
        )
    return ""


def _strangers(stores: Mapping[str, Store], manifest: Manifest | None, membership: Membership) -> list[str]:
    """Replicas that are there, and are not what this index calls by that name."""
    lineage = manifest.lineage if manifest and manifest.version else None
    found = []
    for member in membership.replicas:
        store = stores.get(member.id)
        if store is None or absent(store):
            continue
        try:
            mine = markers.replica(store)
        except (IndexFault, OSError):
            continue  # said by `unfit`
        if mine is None:
            if lineage is not None:
                found.append(f"replica {member.id}: {store.name} is there without its marker (is the disk mounted?)")
        elif not _is(mine, member, lineage):
            found.append(f"replica {member.id}: {store.name} is another replica, or of another index")
    return found


def _is(marker: Marker, member: Member, lineage: str | None) -> bool:
    return Member(marker.id, marker.incarnation) == member and lineage in (None, marker.lineage)
