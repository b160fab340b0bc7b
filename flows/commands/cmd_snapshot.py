"""`snapshot create|list|show|verify|hold|release|expire`: versions in DR stores, by name."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.flows.answers import snapshots as answers
from penstock.flows.answers.exits import COMPLETE, INCOMPLETE, UsageError
from penstock.flows.commands.cmd_ship import UNCONFIGURED
from penstock.flows.commands.cmd_upkeep import paced
from penstock.flows.commands.console import Console
from penstock.flows.commands.context import Context, context
from penstock.flows.commands.moments import period
from penstock.flows.config import place

if TYPE_CHECKING:
    from penstock.flows.recovery.snapshots import Answers
    from penstock.index.recovery.archive import Archive


def create(arguments: argparse.Namespace, console: Console) -> int:
    """Name the newest version in every DR store. Exit code 3 unless all of them have it."""
    from penstock.flows.recovery import snapshots
    from penstock.flows.runs.stop import Stop, on_signals

    ctx = context(arguments)
    if not ctx.settings.snapshots.places:
        raise UsageError(UNCONFIGURED)
    keep = period("--keep-for", arguments.keep_for)
    if arguments.name is not None:
        snapshots.checked(arguments.name)
    home = ctx.required()
    if not ctx.begun():
        raise UsageError(f"{ctx.home} holds no index yet; `penstock ingest PATH` makes one")
    stop = Stop()
    console.sign("shipping what is not there yet …")
    with on_signals(stop, lambda _: console.say("stopping; once more ends at once")):
        done = snapshots.create(
            ctx.settings,
            home,
            arguments.name or "",
            console.say,
            stopped=stop,
            keep_seconds=keep,
            hold=arguments.hold,
        )
    return _answer(console, done, answers.created)


def list_(arguments: argparse.Namespace, console: Console) -> int:
    """What has a name, and what has none. Exit code 1 if anything of it is damaged or missing."""
    from penstock.flows.recovery import snapshots

    _, stores = _opened(arguments, console)
    done = snapshots.list_(stores, paced(console))
    flawed = any(one.faults or any(held.fault for held in one.snapshots) for one in done.stores)
    return _answer(console, done, answers.listed, INCOMPLETE if flawed else COMPLETE)


def show(arguments: argparse.Namespace, console: Console) -> int:
    """What is in one of them."""
    from penstock.flows.recovery import snapshots

    _, stores = _opened(arguments, console)
    return _answer(console, snapshots.show(stores, arguments.name, None), answers.shown)


def verify(arguments: argparse.Namespace, console: Console) -> int:
    """Read every byte of it. Exit code 1 if anything is wrong."""
    from penstock.flows.recovery import snapshots

    _, stores = _opened(arguments, console)
    console.sign("reading every byte …")
    done = snapshots.verify(
        stores,
        paced(console),
        name=arguments.name or "",
        version=arguments.version,
        every=arguments.all,
        rate_bytes=max(1, int(arguments.rate * 1e6)) if arguments.rate else None,
    )
    flawed = any(one.flaws for one in done.stores)
    return _answer(console, done, answers.verified, INCOMPLETE if flawed else COMPLETE)


def hold(arguments: argparse.Namespace, console: Console) -> int:
    """Keep it, whatever the policy says."""
    return _held(arguments, console, True)


def release(arguments: argparse.Namespace, console: Console) -> int:
    """Let the policy decide again."""
    return _held(arguments, console, False)


def expire(arguments: argparse.Namespace, console: Console) -> int:
    """Delete what policy lets go of."""
    from penstock.flows.recovery import snapshots

    ctx, stores = _opened(arguments, console)
    said = ctx.settings.snapshots
    done = snapshots.expire(
        stores,
        paced(console),
        keep_last=said.keep_last if arguments.keep_last is None else arguments.keep_last,
        keep_days=said.keep_days if arguments.keep_days is None else arguments.keep_days,
        dry_run=arguments.dry_run,
    )
    return _answer(console, done, lambda done: answers.expired(done, arguments.dry_run), dry_run=arguments.dry_run)


def _held(arguments: argparse.Namespace, console: Console, held: bool) -> int:
    from penstock.flows.recovery import snapshots

    _, stores = _opened(arguments, console)
    return _answer(console, snapshots.hold(stores, arguments.name, held), answers.held)


def _opened(arguments: argparse.Namespace, console: Console) -> tuple[Context, list[Archive]]:
    """The DR stores that are meant. A home is not needed. Raises `UsageError`."""
    from penstock.flows.recovery import restoring, snapshots

    ctx = context(arguments)
    try:
        urls = tuple(place.store(word, Path.cwd()) for word in arguments.store)
    except place.BadPlace as wrong:
        raise UsageError(f"--store: {wrong}") from None
    named = restoring.places(ctx.settings, urls, arguments.variables)
    return ctx, snapshots.opened(ctx.settings, named, console.say)


def _answer(
    console: Console, done: Answers[Any], text: Callable[[Any], str], code: int = COMPLETE, **more: object
) -> int:
    code = max(code, done.code)
    payload = {"ok": code == COMPLETE, "stores": msgspec.to_builtins(done.stores), "problems": done.problems, **more}
    console.answer(payload, text(done))
    return code
