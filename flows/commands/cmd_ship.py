"""`ship`: bring the DR stores up to the newest version, once or for as long as it runs."""

from __future__ import annotations

import argparse

import msgspec

from penstock.flows.answers import render
from penstock.flows.answers.exits import UsageError
from penstock.flows.commands.console import Console
from penstock.flows.commands.context import context

UNCONFIGURED = (
    "no DR store is configured; name one in penstock.toml, a folder on another disk or a bucket: "
    '[snapshots] and in it store = "/mnt/elsewhere/penstock" or store = "s3://bucket/penstock"'
)


def ship(arguments: argparse.Namespace, console: Console) -> int:
    """Copy what is committed and not there yet. Exit code 1 if something was committed meanwhile, else the fault's."""
    from penstock.flows.recovery import shipping
    from penstock.flows.runs.stop import Stop, on_signals

    ctx = context(arguments)
    if not ctx.settings.snapshots.places:
        raise UsageError(UNCONFIGURED)
    home = ctx.required()
    if not ctx.begun():
        raise UsageError(f"{ctx.home} holds no index yet; `penstock ingest PATH` makes one")
    stop = Stop()
    console.sign("looking at what is not shipped yet …")
    with on_signals(stop, lambda _: console.say("stopping; once more ends at once")):
        figures, code = shipping.catch_up(
            ctx.settings, home, console.say, stopped=stop, follow=arguments.follow, anew=arguments.anew
        )
        if stop() and not arguments.follow:
            raise KeyboardInterrupt
    left = shipping.told(figures)
    payload = {"ok": not left, "stores": {name: msgspec.to_builtins(one) for name, one in figures.items()}}
    verdict = "Not everything is shipped." if left else "Everything is shipped."
    console.answer(payload, "\n".join([verdict, "", *render.shipped(figures), *map(render.plain, left)]))
    return code
