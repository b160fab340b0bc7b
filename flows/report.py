"""The state of a home as figures: what `status` shows and `--json` carries. Looks only, never changes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from penstock.flows import health
from penstock.flows import place as places
from penstock.flows.health import Health
from penstock.index.types import Manifest

if TYPE_CHECKING:
    from penstock.index.store import Store


class ReplicaStatus(msgspec.Struct, frozen=True):
    """One replica as it is right now. `version` is the newest that it publishes, 0 if none.

    `writable`: a writer would take it. `problem` is also said where it is damaged and could be written all the same.
    """

    id: str
    path: str
    reachable: bool
    version: int
    bytes: int
    problem: str = ""
    writable: bool = True


class SourceStatus(msgspec.Struct, frozen=True):
    """One source. `there`: its binding exists on this machine."""

    name: str
    type: str
    binding: str
    there: bool
    held: str = ""


class Status(msgspec.Struct, frozen=True):
    """Everything that `status` says. Times are seconds since the epoch, sizes bytes."""

    verdict: str
    next: str
    healthy: bool
    home: str
    version: int
    documents: int
    chunks: int
    failed: int
    rejected: int
    committed_at: float
    write_quorum: int
    replicas: list[ReplicaStatus]
    sources: list[SourceStatus]
    spool_shards: int
    spool_bytes: int
    warnings: list[str]


def replica(name: str, store: Store) -> ReplicaStatus:
    """Look at one replica; whatever fails is what is wrong with it."""
    from penstock.index import log
    from penstock.index.errors import IndexFault

    path = store.name
    try:
        store.probe()
        published = log.entries(store)
    except (IndexFault, OSError) as error:
        return ReplicaStatus(name, path, False, 0, 0, str(error), False)
    stops = health.unfit(store)
    problem = stops or health.damaged(store)
    version = published[-1][0] if published else 0
    return ReplicaStatus(name, path, True, version, _bytes(store), problem, not stops)


def replicas(stores: Mapping[str, Store]) -> list[ReplicaStatus]:
    """Look at all of them at the same time: one that does not answer costs its time-out, once."""
    with ThreadPoolExecutor(max(1, len(stores)), thread_name_prefix="replica") as pool:
        return list(pool.map(replica, stores.keys(), stores.values()))


def _bytes(store: Store) -> int:
    """Bytes on disk; of a store elsewhere, what its newest version needs."""
    from penstock.index import log
    from penstock.index import manifest as manifests
    from penstock.index.errors import IndexFault
    from penstock.index.places import read_manifest

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


def sources(manifest: Manifest) -> list[SourceStatus]:
    """The sources of a manifest, by name."""
    return [
        SourceStatus(s.name, s.type, s.binding, "://" in s.binding or Path(s.binding).exists(), s.held)
        for _, s in sorted(manifest.sources.items())
    ]


def status(
    home: Path,
    manifest: Manifest | None,
    replicas: list[ReplicaStatus],
    write_quorum: int,
    spool: Path,
    found: Health | None = None,
) -> Status:
    """Put the figures together and judge them. `found`: what looking at the catalog and the markers gave."""
    found = found or Health()
    counts: Mapping[str, int] = manifest.counts if manifest else {}
    bound = sources(manifest) if manifest else []
    version = manifest.version if manifest else 0
    shards = _shards(spool)
    warnings = _warnings(replicas, bound) + found.warnings + found.obstacles[1:]
    judged = _stopped(manifest, replicas, write_quorum, found, bound)
    verdict, step, healthy = judged or _verdict(version, counts, replicas, shards, bound, found.decided)
    return Status(
        verdict=verdict,
        next=step,
        healthy=healthy,
        home=str(home),
        version=version,
        documents=counts.get("documents", 0),
        chunks=counts.get("chunks", 0),
        failed=counts.get("failed", 0),
        rejected=counts.get("rejected", 0),
        committed_at=manifest.committed_at if manifest else 0.0,
        write_quorum=write_quorum,
        replicas=replicas,
        sources=bound,
        spool_shards=shards,
        spool_bytes=bytes_below(spool),
        warnings=warnings,
    )


def unreadable(manifest: Manifest | None, replicas: list[ReplicaStatus]) -> bool:
    """Whether there is an index of which nothing can be read."""
    if not any(r.reachable for r in replicas):
        return bool(replicas)
    return manifest is None and any(r.version for r in replicas)


def _stopped(
    manifest: Manifest | None,
    replicas: list[ReplicaStatus],
    write_quorum: int,
    found: Health,
    bound: list[SourceStatus],
) -> tuple[str, str, bool] | None:
    """The verdict where writing cannot go on, or a copy is not what it was; None where neither is so."""
    if unreadable(manifest, replicas):
        said = "has a good copy" if any(r.reachable for r in replicas) else "can be reached"
        return f"Unreadable: no replica {said}.", "penstock verify", False
    if found.misconfigured:
        return f"Writing is refused: {found.misconfigured}.", "penstock status", False
    if found.obstacles:
        return f"Writing is stopped: {found.obstacles[0]}.", "penstock verify", False
    fit = [r for r in replicas if r.reachable and r.writable]
    gone = [r for r in replicas if not places.is_url(r.path) and not Path(r.path).exists()]
    if gone and fit and len(fit) + len(gone) == len(replicas):
        verdict = f"Under-replicated: replica {', '.join(r.id for r in gone)} is gone."
        return f"{verdict} The next ingest makes it again from the others.", _again(bound), False
    if len(fit) < write_quorum and replicas:
        out = [
            f"replica {r.id} {'is damaged' if r.reachable else 'cannot be reached'}" for r in replicas if r not in fit
        ]
        return f"Writing is stopped: {', '.join(out)} (reading goes on).", "penstock verify", False
    if hurt := [r for r in replicas if r.reachable and r.problem]:
        names = ", ".join(r.id for r in hurt)
        return f"Damaged: replica {names}, see the warnings; good copies are used instead.", "penstock verify", False
    return None


def _again(bound: list[SourceStatus]) -> str:
    return f"penstock ingest {bound[0].name}" if bound else "penstock ingest PATH"


def _verdict(
    version: int,
    counts: Mapping[str, int],
    replicas: list[ReplicaStatus],
    shards: int,
    bound: list[SourceStatus],
    decided: int,
) -> tuple[str, str, bool]:
    """(one sentence, the next command, whether all is well) of an index that can be written: the worst first."""
    again = _again(bound)
    if version == 0 and not decided and all(not r.version for r in replicas):
        return "Empty: nothing has been ingested yet.", "penstock ingest PATH", True
    if behind := [r.id for r in replicas if not r.reachable or r.version < version]:
        return f"Under-replicated: replica {', '.join(behind)} lacks version {version}.", again, False
    if decided > version:
        return f"Interrupted: version {decided} is decided; the next run publishes it.", again, False
    if shards:
        return "Interrupted: a run left prepared work behind; it is taken over, not done again.", again, False
    if counts.get("failed", 0):
        verdict = f"Incomplete: failed documents ({counts['failed']}) are tried again by the next run."
        return verdict, "penstock failures", False
    if moved := [s.name for s in bound if not s.there and s.type == "files" and s.name != "adhoc"]:
        return f"Source {moved[0]} is not where it was.", f"penstock sources rebind {moved[0]} NEW_PATH", False
    return f"Healthy: version {version} is on all {len(replicas)} replicas.", "penstock search QUESTION", True


def _warnings(replicas: list[ReplicaStatus], bound: list[SourceStatus]) -> list[str]:
    found = [f"replica {r.id}: {r.problem}" for r in replicas if r.problem]
    disks: dict[int, list[str]] = {}
    for one in replicas:
        if one.reachable and not places.is_url(one.path):
            disks.setdefault(Path(one.path).stat().st_dev, []).append(one.id)
    found += [
        f"replicas {', '.join(ids)} are on one disk: it takes them all when it dies; see [index] replicas"
        for ids in disks.values()
        if len(ids) > 1
    ]
    found += [f"source {s.name} is held: {s.held}" for s in bound if s.held]
    return found


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
