"""`sources test`: one source tried from end to end, without writing anything."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from penstock.connectors.types import Document, Gap, Item, RejectItem, Source, SourceError
from penstock.flows import wiring
from penstock.flows.answers.exits import COMPLETE, INCOMPLETE, UsageError
from penstock.flows.answers.render import plain, size, table
from penstock.flows.commands.console import Console
from penstock.flows.commands.context import Context, context, opened
from penstock.flows.config.home import Home
from penstock.flows.config.settings import Settings
from penstock.flows.plans.targets import Target
from penstock.flows.sources.redactor import REDACTOR
from penstock.flows.sources.source_wiring import Sources
from penstock.index.types import SourceState

ENOUGH = 100
"""Items: no more of a listing is read than that, which is one page of most sources."""


class Step(msgspec.Struct, frozen=True):
    """One thing that was tried. `said`: what was seen, or why it failed and what to do."""

    name: str
    ok: bool
    said: str


def test(arguments: argparse.Namespace, console: Console) -> int:
    """Try a source. Exit code 0 if all that was tried worked, else 1."""
    ctx = context(arguments)
    with ExitStack() as stack:
        # A home for the time being: neither budgets nor what is fetched may be left in the real one.
        home = Home(Path(stack.enter_context(TemporaryDirectory(prefix="penstock-test-"))))
        sources = Sources(ctx.settings, home, stopped=lambda: False, note=console.sign, stack=stack)
        target = Target(_known(arguments.name, sources, ctx, console))
        steps = list(_tried(target, sources, ctx.settings, console.sign, stack))
    well = all(step.ok for step in steps)
    rows = [["ok  " if step.ok else "FAIL", step.name, plain(step.said)] for step in steps]
    end = "The source works." if well else "The source does not work yet; nothing was written."
    console.answer({"source": arguments.name, "ok": well, "steps": steps}, f"{table(rows)}\n\n{end}")
    return COMPLETE if well else INCOMPLETE


def _known(name: str, sources: Sources, ctx: Context, console: Console) -> SourceState:
    """The source of that name in the configuration, else a folder, else one that the index knows."""
    configured = sources.configured()
    if name in configured:
        return configured[name]
    if Path(name).is_dir():
        return SourceState(name="folder", type="files", binding=str(Path(name).resolve()))
    reader = opened(ctx, console) if ctx.begun() else None
    known = reader.manifest.sources if reader is not None else {}
    if name in known:
        return known[name]
    names = ", ".join(sorted({*configured, *known})) or "none"
    raise UsageError(f"{name}: there is no such source and no such folder; known are {names}")


def _tried(
    target: Target, sources: Sources, settings: Settings, sign: Callable[[str], None], stack: ExitStack
) -> Iterator[Step]:
    """Step after step, until one fails."""
    state = target.source
    try:
        source = sources.open(target)
    except SourceError as error:
        yield _failed("settings", error)
        return
    yield Step("settings", True, f"type {state.type}, at {state.binding}")
    sign(f"listing {state.name} …")
    try:
        items, gaps = _page(source)
    except SourceError as error:
        yield _failed("listing", error)
        return
    more = " or more" if len(items) >= ENOUGH else ""
    yield Step("listing", not gaps, gaps[0].reason if gaps else f"{len(items)}{more} items, the first {_first(items)}")
    if not items:
        yield Step("fetching", False, "nothing was listed: is it empty, or may these credentials see nothing?")
        return
    sign(f"fetching {items[0].uri} …")
    yield from _fetched(source, items[0], settings, stack)


def _page(source: Source) -> tuple[list[Item], list[Gap]]:
    items: list[Item] = []
    gaps: list[Gap] = []
    for entry in source.list():
        if isinstance(entry, Item):
            items.append(entry)
        elif isinstance(entry, Gap):
            gaps.append(entry)
        if len(items) >= ENOUGH:
            break
    return items, gaps


def _first(items: list[Item]) -> str:
    return items[0].uri if items else "none"


def _fetched(source: Source, item: Item, settings: Settings, stack: ExitStack) -> Iterator[Step]:
    try:
        fetched = source.fetch(item)
    except RejectItem as reject:
        yield Step("fetching", True, f"{item.uri}: {reject} ({reject.reason})")
        return
    except (SourceError, FileNotFoundError) as error:
        yield _failed("fetching", error)
        return
    yield Step(
        "fetching", True, f"{item.uri}: {size(fetched.path.stat().st_size)}, version {fetched.version or item.version}"
    )
    with wiring.parser_pool(settings) as pool:
        outcome = pool.parse(fetched)
    if isinstance(outcome, Document):
        said = f"{outcome.kind}, {len(outcome.text):,} characters, title {outcome.title or 'none'}"
        carried = [f"{key}={value}" for key, value in sorted(outcome.metadata.items())]
        said += f"; metadata {', '.join(carried) or 'none'}; labels {', '.join(outcome.labels) or 'none'}"
        yield Step("parsing", True, said)
    else:
        yield Step("parsing", True, f"{outcome.reason}: {outcome.detail}")


def _failed(name: str, error: Exception) -> Step:
    return Step(name, False, REDACTOR.clean(str(error)))
