"""`ship`: bring the DR stores up to the newest version, once or for as long as it runs."""

from __future__ import annotations

import argparse
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from penstock.flows.answers import render
from penstock.flows.answers.account_table import shipped
from penstock.flows.answers.exits import COMPLETE, UsageError
from penstock.flows.commands.console import Console
from penstock.flows.commands.context import Context, context
from penstock.flows.config.home import NoHome

if TYPE_CHECKING:
    from penstock.flows.runs.stop import Stop

UNCONFIGURED = (
    "no DR store is configured; name one in penstock.toml, a folder on another disk or a bucket: "
    '[snapshots] and in it store = "/mnt/elsewhere/penstock" or store = "s3://bucket/penstock"'
)


NO_INDEX = "holds no index yet"
_LOOK = 0.5


def ship(arguments: argparse.Namespace, console: Console) -> int:
    """Copy what is committed and not there yet. Exit code 1 if something was committed meanwhile, else the fault's."""
    from penstock.flows.recovery import shipping
    from penstock.flows.runs.stop import Stop, on_signals

    ctx = context(arguments)
    if not ctx.settings.snapshots.places:
        raise UsageError(UNCONFIGURED)
    if not arguments.follow:
        ctx.required()
        if not ctx.begun():
            raise UsageError(f"{ctx.home} {NO_INDEX}; `penstock ingest PATH` makes one")
    stop = Stop()
    with on_signals(stop, lambda _: console.say("stopping; once more ends at once")):
        if not _begun(ctx, console, stop):
            console.answer({"ok": True, "stores": {}}, f"{ctx.home} {NO_INDEX}: there was nothing to ship.")
            return COMPLETE
        home = ctx.required()
        console.sign("looking at what is not shipped yet …")
        say = console.say_again if arguments.follow else console.say  # what is away, comes back and is away again
        figures, code = shipping.catch_up(
            ctx.settings, home, say, stopped=stop, follow=arguments.follow, anew=arguments.anew
        )
        if stop() and not arguments.follow:
            raise KeyboardInterrupt
    left = shipping.told(figures)
    payload = {"ok": not left, "stores": {name: msgspec.to_builtins(one) for name, one in figures.items()}}
    verdict = "Not everything is shipped." if left else "Everything is shipped."
    console.answer(payload, "\n".join([verdict, "", *shipped(figures), *map(render.plain, left)]))
    return code


def _begun(ctx: Context, console: Console, stop: Stop) -> bool:
    """Wait for the first ingest: what ships may be started with the machine. False where it was stopped before."""
    from penstock.flows import wiring

    said = False
    while not stop():
        with suppress(NoHome):
            ctx.required()
            if ctx.begun():
                return True
        if not said:
            console.say(f"{ctx.home} {NO_INDEX}; waiting for the first ingest")
            said = True
        wiring.sleep(_LOOK)
    return False
