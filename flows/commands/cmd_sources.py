"""`sources list`, `rebind`, `remove` and `resume`: what the index takes documents from."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from penstock.flows.answers import render, report
from penstock.flows.answers.exits import COMPLETE, UsageError
from penstock.flows.commands.console import Console
from penstock.flows.commands.context import Context, context, opened, same_place
from penstock.flows.config import home as homes
from penstock.flows.config.names import ADHOC
from penstock.flows.sources.source_wiring import orphans
from penstock.index.commits.delta import Delta
from penstock.index.types import DocState, Manifest, SourceState

if TYPE_CHECKING:
    from penstock.index.commits.commit import Writer


def list_(arguments: argparse.Namespace, console: Console) -> int:
    """The sources, where they are, and whether that is there."""
    ctx = context(arguments)
    reader = opened(ctx, console)
    found = report.sources(reader.manifest, orphans(ctx.settings, reader.manifest.sources)) if reader else []
    console.answer({"sources": [msgspec.structs.asdict(s) for s in found]}, render.sources(found))
    return COMPLETE


def rebind(arguments: argparse.Namespace, console: Console) -> int:
    """Commit that a source is somewhere else now; its documents stay as they are."""
    ctx = context(arguments)
    ctx.required()
    with _writer(ctx, console) as writer:
        head = writer.head()
        source = _find(head, arguments.old)
        new = _place(source, arguments.new, ctx)
        taken = [other.name for other in head.sources.values() if other.binding == new]
        if taken and taken != [source.name]:
            raise UsageError(f"{new} is the source {taken[0]} already; remove that one first")
        version = head.version
        if source.binding != new:
            moved = msgspec.structs.replace(source, binding=new)
            version = writer.commit(Delta(version, [], sources={source.name: moved})).version
    console.answer(
        {"source": source.name, "was": source.binding, "binding": new, "version": version},
        f"{source.name} is at {new} now (was {source.binding}).\n\n"
        f"Next: penstock ingest {shlex.quote(_again(source, new))}{same_place(arguments)}",
    )
    return COMPLETE


def remove(arguments: argparse.Namespace, console: Console) -> int:
    """Commit all documents of a source as deleted, and the source as gone."""
    from penstock.flows import wiring
    from penstock.flows.runs import freshness

    ctx = context(arguments)
    ctx.required()
    with _writer(ctx, console) as writer:
        head = writer.head()
        source = _find(head, arguments.name)
        now = wiring.clock()
        gone = [
            DocState(uri=state.uri, source=state.source, status="deleted", changed_at=now)
            for state in writer.states().scan(source.name)
            if state.status != "deleted"
        ]
        _confirm(arguments.yes, source.name, len(gone), console)
        freshness.forget(ctx.required().path, [source.name])
        version = writer.commit(Delta(head.version, gone, sources={source.name: None})).version
    console.answer(
        {"source": source.name, "deleted": len(gone), "version": version},
        f"{source.name} is forgotten, with {render.count(len(gone), 'document')}, in version {version}.",
    )
    return COMPLETE


def resume(arguments: argparse.Namespace, console: Console) -> int:
    """Commit that sources which a rollback held go on with the next run."""
    if bool(arguments.names) == arguments.all:
        raise UsageError("name the sources that are to go on, or say --all")
    ctx = context(arguments)
    ctx.required()
    with _writer(ctx, console) as writer:
        head = writer.head()
        meant = [_find(head, name) for name in arguments.names] or list(head.sources.values())
        free = {source.name: msgspec.structs.replace(source, held="") for source in meant if source.held}
        version = writer.commit(Delta(head.version, [], sources=free)).version
    names = sorted(free)
    said = f"{', '.join(names)} {'goes' if len(names) == 1 else 'go'} on with the next run." if names else ""
    unheld = [source.name for source in meant if not source.held] if arguments.names else []
    lines = [said] if names else []
    lines += [f"Not held: {', '.join(unheld)}."] if unheld else []
    lines += _remarks(free, ctx)
    lines += ["", f"Next: {_go_on(free, ctx)}{same_place(arguments)}"] if names else []
    console.answer({"resumed": names, "version": version}, "\n".join(lines or ["No source is held."]))
    return COMPLETE


def _remarks(free: Mapping[str, SourceState], ctx: Context) -> list[str]:
    """Which of them a bare `ingest` leaves out, where it takes only what the configuration describes."""
    said = ctx.settings.sources
    beyond = sorted(name for name in free if name not in said and name != ADHOC) if said else []
    lines = [f"Not in the configuration: {', '.join(beyond)}. They have to be named."] if beyond else []
    return [*lines, "Files that were given by name (adhoc) are to be given again."] if ADHOC in free else lines


def _go_on(free: Mapping[str, SourceState], ctx: Context) -> str:
    """The command that takes all of them. Without words it means what the file describes, so that sources of which the
    file knows nothing have to be named."""
    configured = ctx.settings.sources
    if all(name in configured for name in free):
        return "penstock ingest"
    words = [shlex.quote(_again(source, source.binding)) for name, source in free.items() if name != ADHOC]
    return f"penstock ingest {' '.join(words or ['FILE …'])}"


def _again(source: SourceState, new: str) -> str:
    return new if source.type == "files" else source.name


def _writer(ctx: Context, console: Console) -> Writer:
    """The index for writing. Refuses where nothing was ever ingested: opening would make one."""
    from penstock.flows import wiring

    if not ctx.begun():
        raise UsageError(f"{ctx.home} knows no source yet; `penstock ingest FOLDER` makes one")
    console.sign("opening the index …")
    return wiring.open_writer(ctx.settings, homes.Home(ctx.home), console.say)


def _find(head: Manifest, wanted: str) -> SourceState:
    """The source of that name, or the one bound to that path."""
    if wanted in head.sources:
        return head.sources[wanted]
    path = os.path.abspath(os.path.expanduser(wanted))  # noqa: PTH100, PTH111  # textual: it may be gone
    for source in head.sources.values():
        if path == source.binding.rstrip("/"):
            return source
    known = ", ".join(sorted(head.sources)) or "none"
    raise UsageError(f"the index knows no source {wanted}; it knows {known}")


def _place(source: SourceState, new: str, ctx: Context) -> str:
    """Where the source is now: a folder that is there, or for other kinds what the configuration says."""
    if source.type == "files":
        folder = Path(new).expanduser()
        if not folder.is_dir():
            raise UsageError(f"{new}: there is no such folder; NEW is where the source is now")
        return str(folder.resolve())
    said = ctx.settings.sources.get(source.name)
    if said is None or said.options.binding() != new:
        there = "nothing" if said is None else said.options.binding()
        raise UsageError(
            f"{source.name} is of type {source.type}: change [sources.{source.name}] first, then give what it says "
            f"(now {there})"
        )
    return new


def _confirm(yes: bool, name: str, documents: int, console: Console) -> None:
    if yes:
        return
    what = f"delete {render.count(documents, 'document')} of {name} from the index"
    if console.as_json or not sys.stdin.isatty():
        raise UsageError(f"this would {what}; say --yes to do it")
    console.err.write(f"This will {what}. Type {name} to go on: ")
    console.err.flush()
    if sys.stdin.readline().strip() != name:
        raise UsageError("not confirmed; nothing was changed")
