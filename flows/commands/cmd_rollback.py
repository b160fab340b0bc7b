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
from penstock.index.errors import Conflict

if TYPE_CHECKING:
    from penstock.index.care.rollback import Changes
    from penstock.index.catalog.catalog import Ratified


def rollback(arguments: argparse.Namespace, console: Console) -> int:
    """Show what would change, ask, and commit it. Nothing to do is complete too."""
    from penstock.flows import wiring
    from penstock.index.care import rollback as care

    ctx = context(arguments)
    home = ctx.required()
    if not ctx.begun():
        raise UsageError(f"{ctx.home} holds no index yet; there is nothing to go back to")
    with wiring.open_writer(ctx.settings, home, console.say) as writer:
        to = _meant(arguments.to, writer.site.catalog.since(0), wiring.clock(), ctx)
        changes = care.differences(writer, to.version)
        version = writer.head().version
        if changes and not arguments.dry_run:
            _confirm(arguments.yes, to, changes, console)
            names = {*writer.head().sources, *changes}
            with _quiet(names, ctx):
                done = care.rollback(writer, to.version, expected=None if arguments.yes else changes)
            version, changes = done.version, done.sources
    where = same_place(arguments)
    console.answer(
        {
            "version": version,
            "to": to.version,
            "committed_at": to.committed_at,
            "sources": {name: each._asdict() for name, each in changes.items()},
            "held": sorted(changes),
            "dry_run": arguments.dry_run,
        },
        _foretold(to, changes) if arguments.dry_run else _done(version, to, changes, where),
    )
    return COMPLETE


def _meant(word: str, kept: Sequence[Ratified], now: float, ctx: Context) -> Ratified:
    """The version that `--to` names, which must be kept. Raises `UsageError`, saying which ones are."""
    from penstock.index.care.rollback import newest_before

    number = word.removeprefix("v")
    if number.isascii() and number.isdecimal():
        found = next((version for version in kept if version.version == int(number)), None)
    else:
        found = newest_before(kept, moments.moment("--to", word, now) or 0.0)
    if found is not None:
        return found
    if not kept:
        raise UsageError(f"--to {word}: nothing was ever committed to {ctx.home}")
    further = "; `penstock restore --at` from a DR store goes further back" if ctx.settings.snapshots.places else ""
    raise UsageError(
        f"--to {word}: that version is not kept; kept are version {kept[0].version} ({_time(kept[0])}) to "
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
                raise Conflict(f"a run works on {name}; stop it or wait, then the same command again")
            stack.callback(taken.release)
        yield


def _confirm(yes: bool, to: Ratified, changes: Mapping[str, Changes], console: Console) -> None:
    if yes:
        return
    if console.as_json or not sys.stdin.isatty():
        raise UsageError(f"this would go back to version {to.version}: {_sum(changes)}; say --yes to do it")
    console.err.write(f"{_foretold(to, changes)}\n\nType {to.version} to go back: ")
    console.err.flush()
    if sys.stdin.readline().strip() != str(to.version):
        raise UsageError("not confirmed; nothing was changed")


def _foretold(to: Ratified, changes: Mapping[str, Changes]) -> str:
    if not changes:
        return f"Nothing would change: version {to.version} held what there is now."
    return (
        f"Going back to version {to.version} ({_time(to)}) would change:\n\n{_table(changes)}\n\n"
        "These sources would be held: runs leave them as they are until `penstock sources resume`."
    )


def _done(version: int, to: Ratified, changes: Mapping[str, Changes], where: str) -> str:
    if not changes:
        return f"Nothing to do: version {version} holds what version {to.version} ({_time(to)}) held."
    return (
        f"Version {version} holds what version {to.version} ({_time(to)}) held.\n\n{_table(changes)}\n\n"
        f"These sources are held: runs leave them as they are.\n"
        f"Next: mend what was wrong, then: penstock sources resume {' '.join(sorted(changes))}{where}"
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
