"""What would stop a writer, looked for without walking the index: small files of each replica, and the catalog.

Reads only. It is what opening for writing checks, without the changes that opening makes; what lies in big
files is for `verify`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from penstock.flows.answers import readonly
from penstock.flows.answers.exits import outcome
from penstock.flows.config.layout import sqlite_file
from penstock.index.blobs import blob
from penstock.index.commits import log, markers
from penstock.index.errors import Corrupt, IndexFault, Unavailable
from penstock.index.types import Manifest, Member, Membership

if TYPE_CHECKING:
    from penstock.index.catalog.catalog import Catalog, Meta
    from penstock.index.commits.log import LogRecord
    from penstock.index.commits.markers import Marker
    from penstock.index.stores.store import Store


ANSWER = "see that the catalog answers, then penstock status"


class Health(msgspec.Struct, frozen=True):
    """What opening for writing would meet.

    `misconfigured`: the settings are not this index's. `readonly`: why nothing can be written, although what is there
    may be read. `obstacles` stop every writer. `fix`: what helps against the
    one, else against the first of the others; "" where only `verify` can tell.
    `recovers`: what the next writer mends by itself. `out`: replicas that a writer would leave out, and why.
    `decided`: the catalog's newest version, 0 if not known; of the versions `floor` and before have expired.
    """

    misconfigured: str = ""
    fix: str = ""
    obstacles: list[str] = []
    recovers: str = ""
    out: dict[str, str] = {}
    warnings: list[str] = []
    decided: int = 0
    floor: int = 0
    progress: dict[str, int] = {}
    readonly: str = ""


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
    found = _looked(stores, manifest, write_quorum, catalog_url)
    file = sqlite_file(catalog_url)
    return msgspec.structs.replace(
        found, readonly=readonly.stops(readonly.shut(stores), len(stores), write_quorum, file)
    )


def _looked(stores: Mapping[str, Store], manifest: Manifest | None, write_quorum: int, catalog_url: str) -> Health:
    # The logs are read before the catalog: what is published meanwhile was decided before.
    published = _published(list(stores.values()))
    membership = manifest.membership if manifest and manifest.version else None
    said = _Said()
    try:
        from penstock.index.catalog.catalog import Catalog

        said = _ask(Catalog(catalog_url), published, list(stores.values()))
    except ModuleNotFoundError as error:
        message = outcome(error)[2]
        ours = (error.name or "").partition(".")[0] == "sqlalchemy"
        said = _Said(warnings=[f"the catalog was not looked at: {message}"]) if ours else _Said(obstacles=[message])
    except IndexFault as error:
        said = _Said(obstacles=[str(error)], fix=ANSWER if isinstance(error, Unavailable) else "")
    membership = membership or said.membership
    if membership is None:
        return _health(said)
    strangers, out = _strangers(stores, manifest, membership, said.progress)
    if said.lost:
        said = _with_witnesses(said, membership, stores, {*strangers, *out})
    misconfigured, fix = _misconfigured(membership, list(stores), write_quorum)
    found = _health(said)
    return msgspec.structs.replace(
        found,
        misconfigured=misconfigured,
        fix=fix or found.fix,
        obstacles=[*found.obstacles, *strangers.values()],
        out=out,
    )


class _Said(msgspec.Struct, frozen=True):
    """What the catalog says. `lost`: it is gone, damaged or behind, and can be made again from the replicas."""

    membership: Membership | None = None
    lost: str = ""
    obstacles: list[str] = []
    fix: str = ""
    warnings: list[str] = []
    decided: int = 0
    floor: int = 0
    progress: dict[str, int] = {}


def _health(said: _Said) -> Health:
    return Health("", said.fix, said.obstacles, said.lost, {}, said.warnings, said.decided, said.floor, said.progress)


def _published(stores: Sequence[Store]) -> LogRecord | None:
    """The newest record that any replica has and that can be read."""
    best: LogRecord | None = None
    for store in stores:
        if absent(store):
            continue
        try:
            found = log.newest(store, store.name)
        except (IndexFault, OSError):
            continue  # said by `unfit`
        if found is not None and (best is None or (found.version, found.epoch) > (best.version, best.epoch)):
            best = found
    return best


def _ask(catalog: Catalog, published: LogRecord | None, stores: Sequence[Store]) -> _Said:
    """Raises `IndexFault` where the catalog does not answer."""
    try:
        meta = catalog.meta()
        if meta is None:
            held = published is not None or any(_marked(store) for store in stores)
            return _Said(lost=f"the catalog {catalog.name} is gone" if held else "")
        known = catalog.head()
        said = _Said(
            membership=msgspec.json.decode(meta.membership, type=Membership),
            lost=_behind(catalog, meta, published, stores),
            decided=known.version if known else 0,
            floor=catalog.floor(),
            progress=catalog.progress(),
        )
    except Corrupt:
        return _Said(lost=f"the catalog {catalog.name} is damaged")
    return said


def _behind(catalog: Catalog, meta: Meta, published: LogRecord | None, stores: Sequence[Store]) -> str:
    """That the replicas know more than the catalog, "" if they do not."""
    for store in stores:
        try:
            seen = None if absent(store) else markers.highest(store)
        except (IndexFault, OSError):
            continue  # said by `unfit`
        if seen is not None and seen.lineage == meta.lineage and markers.supersedes(seen, meta.epoch, meta.epoch_id):
            return f"the catalog {catalog.name} is of epoch {meta.epoch}, {store.name} has seen {seen.epoch}"
    if published is None or published.lineage != meta.lineage or published.version <= catalog.floor():
        return ""
    known = catalog.since(published.version - 1)
    if known and (known[0].txn, known[0].ref) == (published.txn, published.manifest):
        return ""
    if known and known[0].epoch > published.epoch:
        return ""
    return f"the catalog {catalog.name} does not know version {published.version}, which is published"


def _marked(store: Store) -> bool:
    try:
        return not absent(store) and markers.replica(store) is not None
    except IndexFault:
        return True
    except OSError:
        return False


def _with_witnesses(
    said: _Said, membership: Membership, stores: Mapping[str, Store], not_these: Collection[str]
) -> _Said:
    """Whether enough replicas are here to make the catalog again; if not, it is an obstacle."""
    needed = len(membership.replicas) - membership.write_quorum + 1
    here = [
        member.id
        for member in membership.replicas
        if member.id in stores and member.id not in not_these and not unfit(stores[member.id])
        and _marked(stores[member.id])
    ]  # fmt: skip
    if len(here) >= needed:
        return said
    obstacle = f"{said.lost}, and {len(here)} of the {needed} replicas that are needed to make it again are here"
    return msgspec.structs.replace(said, lost="", obstacles=[*said.obstacles, obstacle])


def _misconfigured(membership: Membership, configured: Sequence[str], write_quorum: int) -> tuple[str, str]:
    """(what is wrong, the command that helps), both empty if nothing is."""
    have, want = {member.id for member in membership.replicas}, set(configured)
    commands = [f"penstock replica add {name}" for name in sorted(want - have)]
    commands += [f"penstock replica remove {name}" for name in sorted(have - want)]
    if commands:
        said = f"the index has replicas {', '.join(sorted(have))}, the configuration {', '.join(sorted(want))}"
        return f"{said}; put the old ones back in [index] replicas, or: {'; '.join(commands)}", commands[0]
    if membership.write_quorum != write_quorum:
        said = f"the index has write_quorum {membership.write_quorum}, the configuration {write_quorum}"
        command = f"penstock replica quorum {write_quorum}"
        return f"{said}; put it back in [index] write_quorum, or: {command}", command
    return "", ""


def _strangers(
    stores: Mapping[str, Store], manifest: Manifest | None, membership: Membership, progress: Mapping[str, int]
) -> tuple[dict[str, str], dict[str, str]]:
    """By id: replicas that are somebody else's, which stops a writer; and those that a writer leaves out."""
    lineage = manifest.lineage if manifest and manifest.version else None
    strangers, out = {}, {}
    for member in membership.replicas:
        store = stores.get(member.id)
        if store is None or absent(store):
            continue
        try:
            mine = markers.replica(store)
            entries = log.entries(store)
        except (IndexFault, OSError):
            continue  # said by `unfit`
        version = entries[-1][0] if entries else 0
        if mine is None:
            if lineage is not None:
                out[member.id] = f"{store.name} is there without its marker (is the disk mounted?)"
        elif not _is(mine, member, lineage):
            strangers[member.id] = f"replica {member.id}: {store.name} is another replica, or of another index"
        elif version < progress.get(member.id, 0):
            out[member.id] = f"{store.name} went back in time: it had version {progress[member.id]}, it has {version}"
    return strangers, out


def _is(marker: Marker, member: Member, lineage: str | None) -> bool:
    return Member(marker.id, marker.incarnation) == member and lineage in (None, marker.lineage)
