"""`status`, `failures` and `verify`: how the index is, what is not in it and why, is it whole."""

from __future__ import annotations

import argparse

import msgspec

from penstock.flows import home as homes
from penstock.flows import render, report
from penstock.flows.console import Console
from penstock.flows.context import Context, context
from penstock.flows.exits import COMPLETE, INCOMPLETE, UNAVAILABLE
from penstock.index.errors import IndexFault, WrongIndex
from penstock.index.types import DocState, Manifest


def status(arguments: argparse.Namespace, console: Console) -> int:
    """One verdict, the next command, the figures. Exit code 3 if nothing can be read, else 0."""
    from penstock.flows import wiring

    ctx = context(arguments)
    home = homes.require(ctx.home)
    paths = ctx.settings.replica_paths(ctx.home)
    stores = wiring.stores(ctx.settings, ctx.home)
    replicas = [report.replica(name, paths[name], store) for name, store in stores.items()]
    published = any(replica.version for replica in replicas)
    manifest = _manifest(ctx, console) if published else None
    found = report.status(ctx.home, manifest, replicas, ctx.settings.write_quorum(), home.spool)
    console.answer(found, render.status(found, wiring.clock()))
    return COMPLETE if any(replica.reachable for replica in replicas) else UNAVAILABLE


def failures(arguments: argparse.Namespace, console: Console) -> int:
    """Failed and rejected documents, by source and uri."""
    from penstock.flows import wiring

    ctx = context(arguments)
    homes.require(ctx.home)
    with wiring.open_reader(ctx.settings, ctx.home, console.say) as reader:
        names = _sources(reader.manifest, arguments.source)
        states = [s for name in names for s in reader.states(name) if s.status in ("failed", "rejected")]
    console.answer(
        {"failures": [_failure(state) for state in states]}, render.failures(states, wiring.clock())
    )
    return COMPLETE


def verify(arguments: argparse.Namespace, console: Console) -> int:
    """Read everything on every replica. Exit code 1 if anything is not what its name says."""
    from penstock.flows import wiring

    ctx = context(arguments)
    homes.require(ctx.home)
    console.sign("reading every byte on every replica …")
    findings = wiring.verify(ctx.settings, ctx.home, console.sign)
    console.answer(
        {"ok": not findings, "findings": [msgspec.structs.asdict(finding) for finding in findings]},
        render.findings(findings),
    )
    return INCOMPLETE if findings else COMPLETE


def _manifest(ctx: Context, console: Console) -> Manifest | None:
    """The served manifest; a home that cannot be read is a status too, and the replicas say why."""
    from penstock.flows import wiring

    try:
        with wiring.open_reader(ctx.settings, ctx.home, console.say) as reader:
            manifest: Manifest = reader.manifest
            return manifest
    except WrongIndex:
        raise
    except IndexFault as fault:
        console.say(str(fault))
        return None


def _sources(manifest: Manifest, wanted: str | None) -> list[str]:
    names = sorted(manifest.sources)
    if wanted is None:
        return names
    if wanted not in names:
        raise WrongIndex(f"the index knows no source {wanted}; it knows {', '.join(names) or 'none'}")
    return [wanted]


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
