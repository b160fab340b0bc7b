"""`status` and `failures`: how the index is, what is not in it and why."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from penstock.connectors.reasons import FAILURES, REJECTIONS
from penstock.flows.answers import freshness as aged
from penstock.flows.answers import health, recovery, render, report, verdict
from penstock.flows.answers.absent import Absent
from penstock.flows.answers.exits import COMPLETE, UNAVAILABLE, UsageError
from penstock.flows.commands.console import Console
from penstock.flows.commands.context import Context, context, opened, same_place
from penstock.flows.config import place
from penstock.flows.config.home import Home
from penstock.flows.recovery import unfinished
from penstock.flows.runs import freshness
from penstock.flows.sources.source_wiring import hindered, orphans
from penstock.index.errors import IndexFault, WrongIndex
from penstock.index.types import DocState, Manifest

if TYPE_CHECKING:
    from penstock.index.stores.store import Store


def status(arguments: argparse.Namespace, console: Console) -> int:
    """One verdict, the next command, the figures. Exit code 3 if nothing can be read, else 0."""
    from penstock.flows import wiring
    from penstock.index.stores.stores import same_failure_domain

    ctx = context(arguments)
    home, layout = ctx.required(), ctx.layout()
    replicas, looked, manifest, missing = [], health.Health(), None, 0
    stores: dict[str, Store] = {}
    if ctx.begun():
        stores = dict(wiring.stores(ctx.settings, home))
        seen = report.replicas(stores)
        # Who did not answer once is not asked again: each time would cost the same time-out.
        stores |= {one.id: Absent(one.path) for one in seen if not one.reachable and place.is_url(one.path)}
        manifest, missing = _served(ctx, console)
        looked = health.look(stores, manifest, layout.write_quorum, layout.catalog)
        looked = unfinished.judged(looked, home.path, stores)
        replicas = report.judged(seen, looked, _lacks(stores, looked, console))
        if shared := same_failure_domain(stores):
            looked = msgspec.structs.replace(looked, warnings=[*looked.warnings, shared])
    fresh = freshness.figures(ctx.settings, home.path, wiring.clock())
    stale = [aged.warning(name, one, wiring.clock()) for name, one in fresh.items() if one.breached_since]
    looked = msgspec.structs.replace(looked, warnings=[*looked.warnings, *_hindered(ctx, home), *stale])
    ready = recovery.look(
        ctx.settings, home, stores, manifest.lineage if manifest else None, wiring.clock(), os.environ
    )
    lost = orphans(ctx.settings, manifest.sources) if manifest else []
    catalog = str(layout.catalog_file or place.shown(layout.catalog))
    quorum, spool = layout.write_quorum, home.spool
    named = ctx.settings.sources
    found = report.status(ctx.home, manifest, replicas, quorum, spool, looked, catalog, lost, ready, missing, named)
    found = msgspec.structs.replace(found, next=found.next + same_place(arguments), freshness=fresh)
    console.answer(found, render.status(found, wiring.clock()))
    return UNAVAILABLE if verdict.unreadable(manifest, replicas) else COMPLETE


def _hindered(ctx: Context, home: Home) -> list[str]:
    try:
        return hindered(ctx.settings, home)
    except (IndexFault, OSError) as fault:
        return [f"the budgets of the sources cannot be read: {fault}"]


def failures(arguments: argparse.Namespace, console: Console) -> int:
    """Failed and rejected documents, by source and uri."""
    from penstock.flows import wiring

    reader = opened(context(arguments), console)
    if reader is not None and arguments.source not in (None, *reader.manifest.sources):
        known = ", ".join(sorted(reader.manifest.sources)) or "none"
        raise UsageError(f"the index knows no source {arguments.source}; it knows {known}")
    states = list(reader.states(arguments.source)) if reader else []
    states = sorted((s for s in states if s.status in ("failed", "rejected")), key=_by_source)
    if arguments.reason and arguments.reason not in {**FAILURES, **REJECTIONS}:
        raise UsageError(f"--class {arguments.reason}: known are {', '.join(sorted({**FAILURES, **REJECTIONS}))}")
    if arguments.reason:
        states = [state for state in states if state.reason == arguments.reason]
    held = {name for name, source in reader.manifest.sources.items() if source.held} if reader else set[str]()
    payload = {"failures": [_failure(state) | {"held": state.source in held} for state in states]}
    console.answer(payload, render.failures(states, wiring.clock(), held))
    return COMPLETE


def _lacks(stores: Mapping[str, Store], looked: health.Health, console: Console) -> dict[str, int]:
    """Bytes that each replica lacks of the newest version."""
    from penstock.index.commits.backlog import measure

    try:
        return {name: found.bytes for name, found in measure(stores, looked.progress, console.say).items()}
    except (IndexFault, OSError) as fault:
        console.say(str(fault))
        return {}


def _served(ctx: Context, console: Console) -> tuple[Manifest | None, int]:
    """The served manifest, and how many documents of held sources are lost. That it cannot be read is a status too, and
    the replicas say why."""
    try:
        reader = opened(ctx, console)
    except WrongIndex:
        raise
    except IndexFault as fault:
        console.say(str(fault))
        return None, 0
    if reader is None:
        return None, 0
    with reader:
        held = [name for name, source in reader.manifest.sources.items() if source.held]
        if not held or not reader.manifest.counts.get("failed"):
            return reader.manifest, 0
        from penstock.index.care.salvage import LOST

        try:
            return reader.manifest, sum(state.reason == LOST for name in held for state in reader.states(name))
        except IndexFault as fault:
            console.say(str(fault))
            return reader.manifest, 0


def _by_source(state: DocState) -> tuple[str, str]:
    return state.source, state.uri


def _failure(state: DocState) -> dict[str, object]:
    return {
        "uri": state.uri,
        "source": state.source,
        "status": state.status,
        "reason": state.reason,
        "detail": state.detail,
        "attempts": state.attempts,
        "next_try": state.next_try,
    }
