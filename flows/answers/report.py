"""The state of a home as figures: what `status` shows and `--json` carries. Looks only, never changes."""

from __future__ import annotations

import os
from collections.abc import Collection, Container, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from penstock.flows.answers import health, readonly, steps, verdict
from penstock.flows.answers.health import Health
from penstock.flows.answers.recovery import Recovery
from penstock.flows.config.names import ADHOC
from penstock.flows.runs.accounting import Fresh
from penstock.flows.spools import looking
from penstock.index.types import Manifest

if TYPE_CHECKING:
    from penstock.index.stores.store import Store


class ReplicaStatus(msgspec.Struct, frozen=True):
    """One replica as it is right now. `version` is the newest that it publishes, 0 if none.

    `writable`: a writer would take it. `problem` is also said where it is damaged and could be written all the same.
    `lacks_bytes`: what the newest version has and it has not, as far as is known.
    """

    id: str
    path: str
    reachable: bool
    version: int
    bytes: int
    problem: str = ""
    writable: bool = True
    lacks_bytes: int = 0
    full: bool = False
    """Its disk is full: there is nothing to mend, only to make room."""
    readonly: bool = False
    """It can be read, and takes nothing: its disk was mounted so, or this user may not write there."""


class SourceStatus(msgspec.Struct, frozen=True):
    """One source. `there`: its binding exists on this machine (of one elsewhere it is not looked at).

    `orphaned`: the configuration described it once and does no more; it is served until removed. `listed_at`: when a
    full listing of a source with a changes feed was last complete, 0 if never.
    """

    name: str
    type: str
    binding: str
    there: bool
    held: str = ""
    orphaned: bool = False
    listed_at: float = 0.0


class Status(msgspec.Struct, frozen=True):
    """Everything that `status` says. Times are seconds since the epoch, sizes bytes.

    Where nothing can be read, the counts are None, and `version` is the catalog's newest, None if that is not known.
    """

    verdict: str
    next: str
    healthy: bool
    home: str
    version: int | None
    documents: int | None
    chunks: int | None
    failed: int | None
    rejected: int | None
    committed_at: float
    write_quorum: int
    replicas: list[ReplicaStatus]
    sources: list[SourceStatus]
    spool_shards: int
    spool_bytes: int
    warnings: list[str]
    under_replicated_bytes: int = 0
    catalog: str = ""
    expired_versions: int = 0
    kept_versions: int = 0
    recovery: Recovery = Recovery()
    freshness: dict[str, Fresh] = {}
    """Of each source with an objective."""


def replica(name: str, store: Store) -> ReplicaStatus:
    """Look at one replica; whatever fails is what is wrong with it."""
    from penstock.index.commits import log
    from penstock.index.errors import IndexFault, NoSpace

    path, full, shut = store.name, "", readonly.shut({name: store}).get(name, "")
    try:
        published = log.entries(store)
        try:
            if not shut:
                store.probe()
        except NoSpace as error:
            full = str(error)  # reading goes on
    except (IndexFault, OSError) as error:
        return ReplicaStatus(name, path, False, 0, 0, str(error), False)
    stops = shut or full or health.unfit(store)
    problem = stops or health.damaged(store)
    version = published[-1][0] if published else 0
    return ReplicaStatus(
        name, path, True, version, _bytes(store), problem, not stops, full=bool(full), readonly=bool(shut)
    )


def replicas(stores: Mapping[str, Store]) -> list[ReplicaStatus]:
    """Look at all of them at the same time: one that does not answer costs its time-out, once."""
    with ThreadPoolExecutor(max(1, len(stores)), thread_name_prefix="replica") as pool:
        return list(pool.map(replica, stores.keys(), stores.values()))


def _bytes(store: Store) -> int:
    """Bytes on disk; of a store elsewhere, what its newest version needs."""
    from penstock.index.commits import log
    from penstock.index.commits import manifest as manifests
    from penstock.index.errors import IndexFault
    from penstock.index.reading.places import read_manifest

    root: Path | None = getattr(store, "root", None)
    if root is not None:
        return bytes_below(root)
    try:
        newest = log.newest(store, store.name)
        if newest is None:
            return 0
        found = read_manifest([store], newest.manifest, lambda line: None)
        return newest.manifest.size + sum(ref.size for ref in manifests.closure(found).values())
    except (IndexFault, OSError):
        return 0


def sources(manifest: Manifest, orphans: Container[str] = ()) -> list[SourceStatus]:
    """The sources of a manifest, by name."""
    return [
        SourceStatus(
            s.name,
            s.type,
            s.binding,
            s.type not in ("files", ADHOC) or Path(s.binding).exists(),
            s.held,
            name in orphans,
            s.listed_at,
        )
        for name, s in sorted(manifest.sources.items())
    ]


def judged(looked: list[ReplicaStatus], found: Health, lacks: Mapping[str, int]) -> list[ReplicaStatus]:
    """What was seen on each replica, with what only all of them and the catalog together tell."""
    return [
        msgspec.structs.replace(
            one,
            problem=one.problem or found.out.get(one.id, ""),
            writable=one.writable and one.id not in found.out,
            version=one.version if one.reachable else found.progress.get(one.id, 0),
            lacks_bytes=lacks.get(one.id, 0),
        )
        for one in looked
    ]


def status(
    home: Path,
    manifest: Manifest | None,
    replicas: list[ReplicaStatus],
    write_quorum: int,
    spool: Path,
    found: Health | None = None,
    catalog: str = "",
    orphans: Container[str] = (),
    recovery: Recovery | None = None,
    lost: int = 0,
    configured: Collection[str] = (),
) -> Status:
    """Put the figures together and judge them. `found`: what looking at the catalog and the markers gave; `lost`:
    documents of held sources that were good on no replica; `configured`: the sources that the configuration names."""
    found, recovery = found or Health(), recovery or Recovery()
    known = manifest is not None or all(r.reachable and not r.version for r in replicas)
    counts: Mapping[str, int] = manifest.counts if manifest else {}
    bound = sources(manifest, orphans) if manifest else []
    version = manifest.version if manifest else 0
    shards, spooled = _shards(spool), looking.looked(spool)
    warnings = [f"replica {r.id}: {r.problem}" for r in replicas if r.problem]
    warnings += found.warnings + found.obstacles[1:]
    warnings += [f"{found.recovers}: the next ingest makes it again from the replicas"] if found.recovers else []
    warnings += [
        f"source {s.name} is held: {s.held}; runs leave it out until `penstock sources resume {s.name}`"
        for s in bound
        if s.held
    ]
    warnings += [
        f"source {s.name} is orphaned: no longer in the configuration, served until `penstock sources remove {s.name}`"
        for s in bound
        if s.orphaned
    ]
    warnings += [said for store in recovery.stores for said in (store.warning, store.misplaced) if said]
    warnings += recovery.unproven
    stopped = verdict.stopped(
        manifest, replicas, write_quorum, found, steps.reopened([s.name for s in bound], configured), recovery
    )
    said, step, healthy = stopped or verdict.going(
        version, counts, replicas, spooled, bound, configured, found, recovery, lost
    )
    return Status(
        verdict=said,
        next=step,
        healthy=healthy,
        home=str(home),
        version=version if known else found.decided or None,
        documents=counts.get("documents", 0) if known else None,
        chunks=counts.get("chunks", 0) if known else None,
        failed=counts.get("failed", 0) if known else None,
        rejected=counts.get("rejected", 0) if known else None,
        committed_at=manifest.committed_at if manifest else 0.0,
        write_quorum=write_quorum,
        replicas=replicas,
        sources=bound,
        spool_shards=shards,
        spool_bytes=bytes_below(spool),
        warnings=warnings,
        under_replicated_bytes=sum(r.lacks_bytes for r in replicas),
        catalog=catalog,
        expired_versions=found.floor,
        kept_versions=max(0, max(found.decided, version) - found.floor),
        recovery=recovery,
    )


def _shards(spool: Path) -> int:
    """Prepared work that waits in the spool."""
    return sum(1 for _ in spool.glob("*/shard.json")) if spool.is_dir() else 0


def bytes_below(path: Path) -> int:
    """Bytes of the files in a folder; one that vanishes meanwhile does not count."""
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118  # a Path each is slow
            except OSError:
                continue
    return total
