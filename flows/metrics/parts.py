"""The parts of a look at a home: what a replica, the catalog, the budgets and the DR stores say, each by itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.flows import wiring
from penstock.flows.answers import health, readonly, recovery
from penstock.flows.config.home import Home
from penstock.flows.config.settings import Settings
from penstock.flows.metrics.documents import Counted
from penstock.flows.metrics.look import BudgetLook, ReplicaLook, StoreLook
from penstock.flows.metrics.searching import Served
from penstock.flows.recovery import drill_log, unfinished
from penstock.index.commits import manifest as manifests
from penstock.index.types import Manifest

if TYPE_CHECKING:
    from penstock.flows.config.layout import Layout
    from penstock.index.commits.backlog import Backlog
    from penstock.index.stores.store import Store


def replica(store: Store) -> ReplicaLook:
    """What one replica says by itself. Raises `IndexFault`, `OSError`."""
    from penstock.index.commits import log

    if health.absent(store):
        return ReplicaLook(False, -1, problem=f"{store.name} is not there", gone=True)
    entries = log.entries(store)
    problem = health.unfit(store) or readonly.shut({"": store}).get("", "")
    return ReplicaLook(not problem, entries[-1][0] if entries else 0, problem=problem)


def copies(
    home: Home, found: Layout, present: Mapping[str, Store], manifest: Manifest | None
) -> tuple[health.Health, dict[str, Backlog]]:
    """What opening for writing would meet, and what each replica lacks."""
    from penstock.index.commits.backlog import measure

    looked = health.look(present, manifest, found.write_quorum, found.catalog)
    looked = unfinished.judged(looked, home.path, present)
    lacks = measure(present, looked.progress, _unsaid)
    if any(one.bytes and one.reachable for one in lacks.values()):
        # A commit reaches one replica after the other: who has more by now was in the midst of it.
        again = measure(present, looked.progress, _unsaid)
        lacks = {n: one if again[n].version == one.version else again[n] for n, one in lacks.items()}
    return looked, lacks


def judged(
    one: ReplicaLook,
    name: str,
    copies: tuple[health.Health, dict[str, Backlog]] | None,
    manifest: Manifest | None,
) -> ReplicaLook:
    """With what only all replicas and the catalog together tell. One whose place is gone lacks all that is served."""
    if copies is None:
        return msgspec.structs.replace(one, version=max(one.version, 0), measured=False)
    out, lacks = copies[0].out.get(name, ""), copies[1][name]
    known, missing = lacks.reachable, lacks.bytes
    if one.gone and manifest is not None:
        known, missing = True, sum(ref.size for ref in manifests.closure(manifest).values())
    return ReplicaLook(one.up and not out, lacks.version, missing, one.problem or out, one.gone, known)


def lacking(replicas: Mapping[str, ReplicaLook]) -> int | None:
    """Bytes, all together; None where one of them cannot be asked: what it lacks is not nothing."""
    if not all(one.measured for one in replicas.values()):
        return None
    return sum(one.lacks for one in replicas.values())


def budgets(settings: Settings, home: Home) -> dict[str, BudgetLook]:
    """Of each source that has a budget. One that was never asked has used nothing."""
    from penstock.connectors.http.budget_state import State, decoded
    from penstock.connectors.http.ledger import FileLedger
    from penstock.flows.sources.source_wiring import ledger

    def kept_as_it_is(value: bytes) -> tuple[bytes, State]:
        return value, decoded(value, now)

    found, now = {}, wiring.clock()
    with ledger(settings, home, home.path) as kept:
        for name, said in settings.sources.items():
            if said.type == "files":
                continue
            never = isinstance(kept, FileLedger) and not kept.path(name).exists()
            state = State() if never else kept.change(name, kept_as_it_is)
            state.quota.turn(now)
            used = {"concurrency": len(state.places) / said.budget.concurrency}
            if said.budget.per_day:
                used["per_day"] = state.quota.spent / said.budget.per_day
            found[name] = BudgetLook(used, state.breaker.open)
    return found


def snapshots(place: Any) -> float | None:
    """When the newest snapshot there was taken, None if there is none. Raises `IndexFault`, `OSError`."""
    from penstock.flows.recovery import archives

    named, _ = archives.archive(place, os.environ, _unsaid).names()
    return max((one.taken_at for one in named.values()), default=None)


def passed(home: Home) -> dict[str, float]:
    """DR store → when a drill passed there last."""
    return {one.store: one.at for one in drill_log.read(home.path, _unsaid) if one.result == "passed"}


def stores(
    ready: recovery.Recovery, rest: Mapping[str, Any], passed: Mapping[str, float], now: float
) -> dict[str, StoreLook]:
    """Of each DR store. `passed`: when a drill passed there last; `rest`: what else was asked, or why it was not."""
    drilled = {one.store: one for one in ready.drills}
    found = {}
    for one in ready.stores:
        drill = drilled.get(one.place)
        taken = rest.get(f"snapshots {one.place}", TimeoutError())
        found[one.place] = StoreLook(
            up=one.reachable and not one.fenced,
            lag_seconds=one.seconds_behind,
            lag_versions=one.versions_behind,
            lag_bytes=one.bytes_behind,
            snapshot_age=max(0.0, now - taken) if isinstance(taken, float) else None,
            snapshots_known=not isinstance(taken, Exception),
            drill_age=max(0.0, now - drill.at) if drill else None,
            passed_age=max(0.0, now - passed[one.place]) if one.place in passed else None,
            drill=drill.result if drill else "",
        )
    return found


def of_index(served: Served | None, documents: Counted, fault: str) -> dict[str, Any]:
    """The fields of a look that tell of the index; those of a new one if nothing was ever committed."""
    if served is None:
        return {} if fault else {"version": 0, "chunks": 0}
    manifest = served.manifest
    ours = documents.lineage == manifest.lineage
    return {
        "version": manifest.version,
        "committed_at": manifest.committed_at,
        "chunks": manifest.counts.get("chunks", 0),
        "held": {name: source.held for name, source in manifest.sources.items()},
        "documents": documents.sources if ours else {},
        "documents_version": documents.version if ours else 0,
        "searches": served.searches,
    }


def _unsaid(_: str) -> None:
    return
