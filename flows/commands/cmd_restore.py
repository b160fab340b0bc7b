"""`restore`: out of a DR store into a home, searchable at once, to be written when it is whole."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from penstock.flows.answers import render
from penstock.flows.answers.exits import COMPLETE, UsageError
from penstock.flows.answers.times import when
from penstock.flows.commands.cmd_upkeep import paced
from penstock.flows.commands.console import Console
from penstock.flows.commands.context import context, same_place
from penstock.flows.commands.moments import moment
from penstock.flows.config import place

if TYPE_CHECKING:
    from penstock.flows.recovery.restoring import Restored
    from penstock.index.reading.reader import Reader


def restore(arguments: argparse.Namespace, console: Console) -> int:
    """Restore. Exit code 0 also where damaged newer versions were passed over, which is said."""
    from penstock.flows import wiring
    from penstock.flows.recovery import restoring

    ctx = context(arguments)
    stores = restoring.places(ctx.settings, _urls(arguments.from_), arguments.variables)
    request = restoring.Request(
        stores=stores,
        snapshot=arguments.snapshot or "",
        version=arguments.version,
        at=moment("--at", arguments.at, wiring.clock()),
        fork=arguments.fork,
        over=arguments.over,
    )

    def searchable(reader: Reader) -> None:
        console.say(
            f"version {reader.version} can be searched now, while the rest is copied: "
            f"penstock search QUESTION{same_place(arguments)}"
        )

    console.sign("looking at what was shipped …")
    done = restoring.restore(ctx.settings, ctx.home, request, console.say, paced(console), searchable)
    console.answer(
        {**msgspec.to_builtins(done), "home": str(ctx.home)},
        _lines(done, ctx.home, arguments, shipped=[each.url for each in stores]),
    )
    return COMPLETE


def _urls(words: list[str]) -> tuple[str, ...]:
    """The places, absolute. Raises `UsageError`."""
    try:
        return tuple(place.store(word, Path.cwd()) for word in words)
    except place.BadPlace as wrong:
        raise UsageError(f"--from: {wrong}") from None


def _lines(done: Restored, home: Path, arguments: argparse.Namespace, shipped: list[str]) -> str:
    committed = when(done.committed_at)
    lines = [f"Restored version {done.version}, committed {committed}, as version {done.now} in {home}."]
    lines += [f"  {render.plain(line)}" for line in done.passed_over]
    if done.blobs:
        lines.append(
            f"{render.count(done.blobs, 'blob')}, {render.size(done.bytes)}, each byte verified; could be searched "
            f"after {done.seconds_to_search:.1f} s, whole after {done.seconds_to_whole:.1f} s."
        )
    old = "The old index is shut out: it is written no more." if done.fenced else "The old index goes on as it was."
    if done.fork and done.fenced:
        old = "An earlier try without --fork has shut the old index out already: it is written no more."
    if not done.fork and not done.fenced:
        old = "The old index is NOT shut out any more where it was shipped to: see that it is stopped."
    lines.append(f"This is an index of its own now. {old}")
    lines.append(
        f"Give [snapshots] store an empty place for it: {', '.join(map(shlex.quote, shipped))} stays the old one's."
    )
    return "\n".join([*lines, "", f"Next: penstock sources list{same_place(arguments)}"])
