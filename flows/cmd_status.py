"""`status`, `failures` and `verify`: how the index is, what is not in it and why, is it whole."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import msgspec

from penstock.flows import health, render, report
from penstock.flows.console import Console
from penstock.flows.context import Context, context, opened, same_place
from penstock.flows.exits import COMPLETE, INCOMPLETE, UNAVAILABLE, UsageError
from penstock.index.errors import IndexFault, WrongIndex
from penstock.index.types import DocState, Manifest


def status(arguments: argparse.Namespace, console: Console) -> int:
    """One verdict, the next command, the figures. Exit code 3 if nothing can be read, else 0."""
    from penstock.flows import wiring

    ctx = context(arguments)
    home = ctx.required()
    stores = wiring.stores(ctx.settings, home)
    replicas = report.replicas(stores) if ctx.begun() else []
    manifest = _manifest(ctx, console)
    layout, looked = ctx.layout(), health.Health()
    quorum = layout.write_quorum
    if ctx.begun():
        looked = health.look(stores, manifest, quorum, layout.catalog)
    found = report.status(ctx.home, manifest, replicas, quorum, home.spool, looked)
    found = msgspec.structs.replace(found, next=found.next + same_place(arguments))
    console.answer(found, render.status(found, wiring.clock()))
    return UNAVAILABLE if report.unreadable(manifest, replicas) else COMPLETE


def failures(arguments: argparse.Namespace, console: Console) -> int:
    """Failed and rejected documents, by source and uri."""
    from penstock.flows import wiring

    reader = opened(context(arguments), console)
    if reader is not None and arguments.source not in (None, *reader.manifest.sources):
        known = ", ".join(sorted(reader.manifest.sources)) or "none"
        raise UsageError(f"the index knows no source {arguments.source}; it knows {known}")
    states = list(reader.states(arguments.source)) if reader else []
    states = sorted((s for s in states if s.status in ("failed", "rejected")), key=_by_source)
    console.answer({"failures": [_failure(state) for state in states]}, render.failures(states, wiring.clock()))
    return COMPLETE


def verify(arguments: argparse.Namespace, console: Console) -> int:
    """Read everything on every replica. Exit code 1 if anything is not what its name says."""
    from penstock.flows import wiring

    ctx = context(arguments)
    home = ctx.required()
    console.sign("reading every byte on every replica …")
    findings = wiring.verify(ctx.settings, home, _paced(console)) if ctx.begun() else []
    console.answer(
        {"ok": not findings, "findings": [msgspec.structs.asdict(finding) for finding in findings]},
        render.findings(findings),
    )
    return INCOMPLETE if findings else COMPLETE


def _manifest(ctx: Context, console: Console) -> Manifest | None:
    """The served manifest; that it cannot be read is a status too, and the replicas say why."""
    try:
        reader = opened(ctx, console)
    except WrongIndex:
        raise
    except IndexFault as fault:
        console.say(str(fault))
        return None
    return reader.manifest if reader else None


def _paced(console: Console, every: float = 2.0) -> Callable[..., None]:
    """Progress for a terminal: what is being read, and how far, every few seconds."""
    said = time.monotonic()

    def progress(what: str, *done_and_total: int) -> None:
        nonlocal said
        if time.monotonic() - said >= every:
            said = time.monotonic()
            console.sign(" ".join([what, *(" of ".join(str(n) for n in done_and_total),)]))

    return progress


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
