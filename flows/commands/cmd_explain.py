"""`explain`: everything that is known of a document or a chunk, or why nothing is."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from penstock.flows.answers.exits import COMPLETE, UsageError
from penstock.flows.answers.render import plain
from penstock.flows.commands.console import Console
from penstock.flows.commands.context import Context, context, opened, same_place
from penstock.flows.sources.source_wiring import CONFIGURED, orphans
from penstock.index.types import SourceState

if TYPE_CHECKING:
    from penstock.flows.commands.explain import Copy
    from penstock.flows.commands.meant import Folder
    from penstock.index.reading.reader import Reader

PATIENCE = 2.0
"""Seconds after which a person is told what takes so long."""


def explain(arguments: argparse.Namespace, console: Console) -> int:
    """Explain one document or chunk. Exit code 2, with what may have been meant, if it is not known."""
    from penstock.flows import wiring
    from penstock.flows.commands.explain import explained
    from penstock.flows.commands.explain_text import explanation
    from penstock.flows.commands.meant import meant

    ctx = context(arguments)
    reader = opened(ctx, console)
    if reader is None:
        raise UsageError(f"{ctx.home} holds no document yet; `penstock ingest PATH` puts some in")
    with reader:
        known = reader.manifest.sources
        with _told(console, "looking through the whole index …"):
            found = meant(arguments.what, reader, _sources(ctx, reader), lambda name: _folder(ctx, name))
        for other in found.also:
            console.say(f"the same path is also the document {plain(other)}")
        said = explained(
            reader,
            found.state,
            _copies(ctx, reader, console),
            orphans(ctx.settings, known),
            same_place(arguments),
            found.chunk,
        )
        console.answer(said, explanation(said, wiring.clock()))
    return COMPLETE


def _sources(ctx: Context, reader: Reader) -> dict[str, SourceState]:
    """Those of the index, and those that are configured and were never ingested."""
    configured = {
        name: SourceState(name=name, type=each.type, binding=each.options.binding(), origin=CONFIGURED)
        for name, each in ctx.settings.sources.items()
    }
    return {**configured, **reader.manifest.sources}


def _folder(ctx: Context, name: str) -> Folder:
    from penstock.flows import wiring
    from penstock.flows.commands.meant import Folder
    from penstock.flows.config.home import Home

    said = ctx.settings.sources.get(name)
    return Folder(said.options if said else None, wiring.ours(ctx.settings, Home(ctx.home)), wiring.clock)


def _copies(ctx: Context, reader: Reader, console: Console) -> list[Copy]:
    """The replicas, each with how far it is."""
    from penstock.flows import wiring
    from penstock.flows.commands.explain import copies
    from penstock.index.commits.backlog import measure

    stores = wiring.stores(ctx.settings, ctx.required())
    with _told(console, "asking every replica …"):
        return copies(stores, reader.version, measure(stores, {}, console.say))


@contextmanager
def _told(console: Console, what: str) -> Iterator[None]:
    """Say `what` is going on, if it takes a while."""
    timer = threading.Timer(PATIENCE, console.sign, [what])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
