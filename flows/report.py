"""The state of a home as figures: what `status` shows and `--json` carries. Looks only, never changes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from penstock.index.types import Manifest

if TYPE_CHECKING:
    from penstock.index.store import LocalStore


class ReplicaStatus(msgspec.Struct, frozen=True):
    """One replica as it is right now. `version` is the newest that it publishes, 0 if none."""

    id: str
    path: str
    reachable: bool
    version: int
    bytes: int
    problem: str = ""


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


def replica(name: str, store: LocalStore) -> ReplicaStatus:
    """Look at one replica; whatever fails is what is wrong with it."""
    from penstock.index import log
    from penstock.index.errors import IndexFault

    path = str(store.root)
    try:
        store.probe()
        published = log.entries(store)
    except (IndexFault, OSError) as error:
        return ReplicaStatus(name, path, False, 0, 0, str(error))
    return ReplicaStatus(name, path, True, published[-1][0] if published else 0, bytes_below(store.root))


def sources(manifest: Manifest) -> list[SourceStatus]:
    """The sources of a manifest, by name."""
    return [
        SourceStatus(s.name, s.type, s.binding, "://" in s.binding or Path(s.binding).exists(), s.held)
        for _, s in sorted(manifest.sources.items())
    ]


def status(
    home: Path, manifest: Manifest | None, replicas: list[ReplicaStatus], write_quorum: int, spool: Path
) -> Status:
    """Put the figures together and judge them."""
    counts: Mapping[str, int] = manifest.counts if manifest else {}
    bound = sources(manifest) if manifest else []
    version = manifest.version if manifest else 0
    shards = _shards(spool)
    warnings = _warnings(replicas, bound)
    verdict, step, healthy = _verdict(version, counts, replicas, write_quorum, shards, bound)
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


def _verdict(
    version: int,
    counts: Mapping[str, int],
    replicas: list[ReplicaStatus],
    write_quorum: int,
    shards: int,
    bound: list[SourceStatus],
) -> tuple[str, str, bool]:
    """(one sentence, the next command, whether all is well): the worst thing first."""
    current = [r for r in replicas if r.reachable and r.version >= version]
    again = f"penstock ingest {bound[0].name}" if bound else "penstock ingest PATH"
    if not replicas or (version == 0 and all(r.reachable and not r.version for r in replicas)):
        return "Empty: nothing has been ingested yet.", "penstock ingest PATH", True
    gone = [r for r in replicas if not Path(r.path).exists()]
    if gone and len(gone) < len(replicas) and all(r.reachable or r in gone for r in replicas):
        verdict = f"Under-replicated: replica {', '.join(r.id for r in gone)} is gone."
        return f"{verdict} The next ingest makes it again from the others.", again, False
    if len([r for r in replicas if r.reachable]) < write_quorum:
        missing = ", ".join(r.id for r in replicas if not r.reachable)
        verdict = f"Writing is stopped: replica {missing} cannot be reached (reading goes on)."
        return verdict, "penstock verify", False
    if len(current) < len(replicas):
        behind = ", ".join(r.id for r in replicas if r not in current)
        return f"Under-replicated: replica {behind} lacks version {version}.", again, False
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
        if one.reachable:
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
