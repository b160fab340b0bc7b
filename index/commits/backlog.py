"""How far replicas are behind: under-replicated bytes, from the replicas' own logs. Reads only."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from penstock.index.commits import log
from penstock.index.commits import manifest as manifests
from penstock.index.commits.replicas import read_manifest
from penstock.index.errors import IndexFault
from penstock.index.stores.store import Store


class Backlog(msgspec.Struct, frozen=True):
    """One replica: the version that it publishes, and the bytes that it lacks of the newest published one.

    Where it does not answer, `reachable` is False, and the version is the last one it was known to have.
    """

    version: int
    bytes: int
    reachable: bool = True
    reason: str = ""


def measure(
    stores: Mapping[str, Store], progress: Mapping[str, int], report: Callable[[str], None]
) -> dict[str, Backlog]:
    """The backlog of each replica, by id. `progress`: the catalog's last known versions, {} if it is not at hand."""
    logs: dict[str, list[tuple[int, int]]] = {}
    faults: dict[str, str] = {}
    for name, store in stores.items():
        try:
            logs[name] = log.entries(store)
        except (IndexFault, OSError) as fault:
            faults[name] = str(fault)
    best = max(logs, key=lambda name: logs[name][-1:], default=None)
    versions = logs[best] if best is not None else []
    at = {name: (entries[-1][0] if entries else 0) for name, entries in logs.items()}
    at |= {name: progress.get(name, 0) for name in faults}
    head = versions[-1][0] if versions else 0
    behind = sorted({version for version in at.values() if version < head})
    sizes = _lacking(stores, best, versions, behind, report) if best is not None and behind else {}
    return {
        name: Backlog(at[name], sizes.get(at[name], 0), name not in faults, faults.get(name, "")) for name in stores
    }


def _lacking(
    stores: Mapping[str, Store],
    best: str,
    versions: list[tuple[int, int]],
    behind: list[int],
    report: Callable[[str], None],
) -> dict[int, int]:
    """For each version in `behind`: the bytes of what came after it, up to the newest."""
    others = [stores[best], *(store for name, store in stores.items() if name != best)]
    closures: dict[int, dict[str, int]] = {0: {}}
    for version, epoch in versions:
        if version < behind[0]:
            continue
        try:
            record = log.read(stores[best], version, epoch, stores[best].name)
            manifest = read_manifest(others, record.manifest, report)
        except (IndexFault, FileNotFoundError) as fault:
            report(f"version {version}: {fault}")
            continue
        needed = {ref.name: ref.size for ref in manifests.closure(manifest).values()}
        closures[version] = {**needed, record.manifest.name: record.manifest.size}
    lacking = {}
    for version in behind:
        later = {name: size for at, blobs in closures.items() if at > version for name, size in blobs.items()}
        lacking[version] = sum(size for name, size in later.items() if name not in closures.get(version, {}))
    return lacking
