"""`export`: the index as files that need no penstock."""

from __future__ import annotations

import argparse

import msgspec

from penstock.flows.answers import render
from penstock.flows.answers.exits import COMPLETE, UsageError
from penstock.flows.commands.cmd_upkeep import paced
from penstock.flows.commands.console import Console
from penstock.flows.commands.context import context, opened


def export(arguments: argparse.Namespace, console: Console) -> int:
    """Write the live rows and their vectors to a folder that is absent or empty."""
    from penstock.flows import wiring
    from penstock.index.care.export import export as write

    ctx = context(arguments)
    home = ctx.required()
    reader = opened(ctx, console)
    if reader is None or not reader.version:
        raise UsageError(f"{ctx.home} holds no version yet; `penstock ingest PATH` makes one")
    with reader:
        manifest = reader.manifest
    step = paced(console)
    done = write(
        manifest,
        list(wiring.stores(ctx.settings, home).values()),
        arguments.directory.expanduser(),
        report=console.say,
        report_progress=lambda rows, total: step("rows written", rows, total),
    )
    directory = str(arguments.directory.expanduser().absolute())
    console.answer({"directory": directory, **msgspec.to_builtins(done)}, render.exported(done, directory))
    return COMPLETE
