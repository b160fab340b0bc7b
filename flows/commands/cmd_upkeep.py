"""`verify`, `repair`, `compact` and `collect`: is the index whole, make it so, make it smaller."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Collection

import msgspec

from penstock.flows.answers import render
from penstock.flows.answers.exits import COMPLETE, INCOMPLETE, UsageError
from penstock.flows.commands.console import Console
from penstock.flows.commands.context import Context, context, opened, same_place
from penstock.flows.config.home import Home
from penstock.index.types import Finding


def verify(arguments: argparse.Namespace, console: Console) -> int:
    """Read everything on every replica. Exit code 1 if anything is not what its name says."""
    from penstock.flows.runs import upkeep

    ctx = context(arguments)
    home = ctx.required()
    console.sign("reading every byte on every replica …")
    findings = upkeep.verify(ctx.settings, home, paced(console), arguments.rate) if ctx.begun() else []
    findings = [_typed(finding, same_place(arguments)) for finding in findings]
    console.answer(
        {"ok": not findings, "findings": [msgspec.structs.asdict(finding) for finding in findings]},
        render.findings(findings, console.verbose),
    )
    return INCOMPLETE if findings else COMPLETE


def repair(arguments: argparse.Namespace, console: Console) -> int:
    """Make every replica whole. Exit code 1 if something is left to do: a replica that is away, or documents lost."""
    from penstock.flows.runs import upkeep

    ctx, home = _begun(arguments)
    console.sign("looking at every byte on every replica …")
    lost, detail = frozenset(arguments.lost), console.say if console.verbose else _unsaid
    done = upkeep.repair(ctx.settings, home, console.say, paced(console), arguments.rate, lost, detail)
    left = not done.whole or bool(done.documents or done.lost)
    payload = {"ok": not left, "changed": bool(done), "whole": done.whole, **msgspec.to_builtins(done)}
    console.answer(payload, render.repaired(done, same_place(arguments), _held(ctx, console, done.documents)))
    return INCOMPLETE if left else COMPLETE


def compact(arguments: argparse.Namespace, console: Console) -> int:
    """Merge small segments, and drop the rows of deleted documents."""
    from penstock.flows.runs import upkeep

    ctx, home = _begun(arguments)
    done = upkeep.compact(ctx.settings, home, console.say, paced(console), arguments.full)
    console.answer(done, render.compacted(done, same_place(arguments)))
    return COMPLETE


def collect(arguments: argparse.Namespace, console: Console) -> int:
    """Delete what only expired versions needed. Exit code 1 if a replica could not be swept."""
    from penstock.flows.runs import upkeep

    ctx, home = _begun(arguments)
    done = upkeep.collect(ctx.settings, home, console.say, paced(console), arguments.dry_run)
    console.answer(
        {**msgspec.to_builtins(done), "dry_run": arguments.dry_run}, render.collected(done, arguments.dry_run)
    )
    return INCOMPLETE if done.left_out else COMPLETE


def paced(console: Console, every: float = 2.0) -> Callable[[str, int, int], None]:
    """Progress for a terminal: what is being done, and how far, every few seconds."""
    said = time.monotonic()

    def progress(what: str, done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said >= every:
            said = time.monotonic()
            console.sign(f"{what}: {done:,} of {total:,}")

    return progress


def _held(ctx: Context, console: Console, documents: Collection[str]) -> set[str]:
    """The sources of these documents that are held since a rollback."""
    reader = opened(ctx, console) if documents else None
    if reader is None:
        return set()
    with reader:
        known = reader.manifest.sources
        found = {state.source for state in reader.find_states(documents).values()}
        return {name for name in found if name in known and known[name].held}


def _typed(finding: Finding, where: str) -> Finding:
    """With its commands as they are typed for this home: `where` holds the options that name it."""
    remedy = re.sub(r"\bpenstock (?:replica )?[a-z]+", lambda command: command[0] + where, finding.remedy)
    return msgspec.structs.replace(finding, remedy=remedy)


def _unsaid(_: str) -> None:
    return


def _begun(arguments: argparse.Namespace) -> tuple[Context, Home]:
    """What to work on. Refuses where nothing was ever ingested: opening for writing would make an index."""
    ctx = context(arguments)
    home = ctx.required()
    if not ctx.begun():
        raise UsageError(f"{ctx.home} holds no index yet; `penstock ingest PATH` makes one")
    return ctx, home
