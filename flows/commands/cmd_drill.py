"""`drill`: restore what was shipped into a scratch place, and see that it is the index."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from penstock.flows.answers import drill as answers
from penstock.flows.answers.exits import UsageError
from penstock.flows.commands.cmd_upkeep import paced
from penstock.flows.commands.console import Console
from penstock.flows.commands.context import context
from penstock.flows.config import place
from penstock.flows.config.snapshots import SnapshotSettings, StorePlace


def drill(arguments: argparse.Namespace, console: Console) -> int:
    """Hold a drill. Exit code 1 if it failed, 3 if it could not be held."""
    from penstock.flows.recovery import drill as drills

    ctx = context(arguments)
    home = ctx.required()
    if not ctx.begun():
        raise UsageError(f"{ctx.home} holds no index yet; `penstock ingest PATH` makes one")
    stores = (_named(arguments.from_, ctx.settings.snapshots),) if arguments.from_ else ()
    wanted = drills.Wanted(stores, arguments.scratch, arguments.keep)
    console.sign("restoring what was shipped into a scratch place …")
    done = drills.drill(ctx.settings, home, wanted, console.say, paced(console))
    console.answer({"ok": done.result == "passed", **msgspec.to_builtins(done)}, answers.lines(done))
    return done.exit_code


def _named(url: str, configured: SnapshotSettings) -> StorePlace:
    """The DR store at `url`, with the credentials that the configuration gives it. Raises `UsageError`."""
    try:
        found = place.store(url, Path.cwd())
    except place.BadPlace as wrong:
        raise UsageError(f"--from: {wrong}") from None
    return next((each for each in configured.places if each.url == found), StorePlace(found, configured.variables))
