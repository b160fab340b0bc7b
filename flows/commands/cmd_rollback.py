"""`rollback`: what an older version held becomes the next version, and the sources that differ are held."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from penstock.flows.answers import render
from penstock.flows.answers.exits import COMPLETE, UsageError
from penstock.flows.answers.times import when
from penstock.flows.commands import moments
from penstock.flows.commands.console import Console
from penstock.flows.commands.context import Context, context, same_place
from penstock.index.errors import Conflict, IndexFault

if TYPE_CHECKING:
    from penstock.index.care.rollback import Changes
    from penstock.index.catalog.catalog import Ratified

_AT_WORK = "a run or a rollback is at work on"


def rollback(arguments: argparse.Namespace, console: Console) -> int:
    """Show what would change, ask, and commit it. Nothing to do is complete too."""
    from penstock.flows import wiring
    from penstock.flows.runs import freshness
    from penstock.index.care import rollback as care

    ctx = context(arguments)
    home = ctx.required()
    if not ctx.begun():
        raise UsageError(f"{ctx.home} holds no index yet; there is nothing to go back to")
    if arguments.dry_run:
        return _foresee(arguments, ctx, console)
    with wiring.open_writer(ctx.settings, home, console.say) as writer:
        to = _meant(arguments.to, writer.site.catalog.since(0), wiring.clock(), ctx)
        changes = care.differences(writer, to.version)
        version = writer.head().version
        if changes:
            _confirm(arguments.yes, to, changes, _warning(changes, writer.head().counts), console)
            names = {*writer.head().sources, *changes}
            with _quiet(names, ctx):
                freshness.forget(ctx.required().path, names)
                done = care.rollback(writer, to.version, expected=None if arguments.yes else changes)
            version, changes = done.version, done.sources
    console.answer(_payload(version, to, changes, False), _done(version, to, changes, same_place(arguments)))
    return COMPLETE


def _foresee(arguments: argparse.Namespace, ctx: Context, console: Console) -> int:
    """The dry run: reads, and opens nothing for writing, which would mend what is lost and make a version."""
    from penstock.flows import wiring
    from penstock.index.care import rollback as care
    from penstock.index.catalog.catalog import Catalog

    home = ctx.required()
    stores = list(wiring.stores(ctx.settings, home).values())
    to = _meant(arguments.to, care.kept(Catalog(ctx.layout().catalog), stores), wiring.clock(), ctx)
    with (
        wiring.open_reader(ctx.settings, home, console.say) as now,
        wiring.open_reader(ctx.settings, home, console.say, version=to.version) as then,
    ):
        changes = care.compared(now.manifest, then.manifest, now.states(), then.states())
        version, said = now.version, _foretold(to, changes, _warning(changes, now.manifest.counts))
        names = {*now.manifest.sources, *changes}
    if changes and (busy := _busy(names, ctx)):
        said += f"\n\nIt would be refused now: {busy}."
    console.answer(_payload(version, to, changes, True), said)
    return COMPLETE


def _payload(version: int, to: Ratified, changes: Mapping[str, Changes], dry_run: bool) -> dict[str, object]:
    return {
        "version": version,
        "to": to.version,
        "committed_at": to.committed_at,
        "sources": {name: each._asdict() for name, each in changes.items()},
        "held": sorted(changes),
        "dry_run": dry_run,
    }


def _meant(word: str, kept: Sequence[Ratified], now: float, ctx: Context) -> Ratified:
    """The version that `--to` names, which must be kept. Raises `UsageError`, saying which ones are."""
    from penstock.index.care.rollback import newest_before

    number = word.removeprefix("v")
    try:
        since = None if number.isascii() and number.isdecimal() else moments.moment("--to", word, now)
    except UsageError as error:
        raise UsageError(f"{error}, or the number of a version") from None
    if number.isascii() and number.isdecimal():
        found = next((version for version in kept if version.version == int(number)), None)
    else:
        found = newest_before(kept, since or 0.0)
    if found is not None:
        return found
    if not kept:
        raise UsageError(f"--to {word}: nothing was ever committed to {ctx.home}")
    later = number.isdecimal() and int(number) > kept[-1].version
    elsewhere = ctx.settings.snapshots.places and not later
    further = "; `penstock restore --at` from a DR store goes further back" if elsewhere else ""
    what = "there is no such version yet" if later else "that version is not kept"
    raise UsageError(
        f"--to {word}: {what}; kept are version {kept[0].version} ({_time(kept[0])}) to "
        f"{kept[-1].version} ({_time(kept[-1])}){further}"
    )


@contextmanager
def _quiet(names: set[str], ctx: Context) -> Iterator[None]:
    """No run works on these sources while this holds. Raises `Conflict` where one does."""
    from penstock.flows import wiring

    locks = wiring.locks(ctx.settings, ctx.required())
    with ExitStack() as stack:
        for name in sorted(names):
            taken = locks.take(f"source.{name}", wait=False)
            if taken is None:
                raise Conflict(f"{_AT_WORK} {name}; stop it or wait, then the same command again")
            stack.callback(taken.release)
        yield


def _busy(names: set[str], ctx: Context) -> str:
    """Who is at work on one of these sources at this moment, "" if nobody is."""
    try:
        with _quiet(names, ctx):
            return ""
    except Conflict as fault:
        return str(fault).partition(";")[0]
    except (IndexFault, OSError):
        return ""  # what keeps it from being asked is said by the real one


def _warning(changes: Mapping[str, Changes], counts: Mapping[str, int]) -> str:
    """What to think about where all that there is, or nearly, would go away; else ""."""
    away, there = sum(each.away for each in changes.values()), counts.get("documents", 0)
    if there == 0 or away < 0.9 * there:
        return ""
    return f"WARNING: {away:,} of the {there:,} documents that are served would go away. Is it the version you mean?"


def _confirm(yes: bool, to: Ratified, changes: Mapping[str, Changes], warning: str, console: Console) -> None:
    if yes:
        if warning:
            console.say(warning)
        return
    if console.as_json or not sys.stdin.isatty():
        raise UsageError(f"this would go back to version {to.version}: {_sum(changes)}; say --yes to do it")
    console.err.write(f"{_foretold(to, changes, warning)}\n\nType {to.version} to go back: ")
    console.err.flush()
    if sys.stdin.readline().strip() != str(to.version):
        raise UsageError("not confirmed; nothing was changed")


def _foretold(to: Ratified, changes: Mapping[str, Changes], warning: str) -> str:
    if not changes:
        return f"Nothing would change: version {to.version} held what there is now."
    return (
        f"Going back to version {to.version} ({_time(to)}) would change:\n\n{_table(changes)}\n\n"
        "These sources would be held: runs leave them as they are until `penstock sources resume`."
        + (f"\n{warning}" if warning else "")
    )


def _done(version: int, to: Ratified, changes: Mapping[str, Changes], where: str) -> str:
    if not changes:
        return f"Nothing to do: version {version} holds what version {to.version} ({_time(to)}) held."
    return (
        f"Version {version} holds what version {to.version} ({_time(to)}) held.\n\n{_table(changes)}\n\n"
        f"These sources are held: runs leave them as they are.\n"
        f"Next: mend what was wrong, then: penstock sources resume {' '.join(sorted(changes))}{where}\n"
        f"Was this the mistake? penstock rollback --to {version - 1}{where}, then: penstock sources resume --all{where}"
    )


def _table(changes: Mapping[str, Changes]) -> str:
    rows = [["source", "come back", "go away", "change"]]
    rows += [[render.plain(name), *(f"{number:,}" for number in each)] for name, each in sorted(changes.items())]
    return render.table(rows)


def _sum(changes: Mapping[str, Changes]) -> str:
    back, away, changed = (sum(numbers) for numbers in zip(*changes.values(), strict=True))
    return f"documents that come back {back:,}, go away {away:,}, change {changed:,}"


def _time(version: Ratified) -> str:
    return when(version.committed_at)
