"""`init`, `ingest` and `plan`: the commands that put documents into the index, or say what that would do."""

from __future__ import annotations

import argparse
import os
import shlex
import time
from pathlib import Path

import msgspec

from penstock.connectors.reasons import FAILURES, REJECTIONS
from penstock.flows.answers.account_table import accounting
from penstock.flows.answers.exits import COMPLETE, UsageError
from penstock.flows.answers.progress import Lines, Live, Observer, Quiet
from penstock.flows.commands import moments
from penstock.flows.commands.console import Console
from penstock.flows.commands.context import Context, context, same_place
from penstock.flows.config import home as homes
from penstock.flows.metrics.journal import STDERR
from penstock.flows.runs.accounting import Accounting, IngestRequest, Retry


def init(arguments: argparse.Namespace, console: Console) -> int:
    """Make an empty home."""
    home = homes.create(context(arguments).home)
    console.answer({"home": str(home.path)}, f"{home.path} is ready.\n\nNext: penstock ingest PATH")
    return COMPLETE


def ingest(arguments: argparse.Namespace, console: Console) -> int:
    """Bring the index in step with the targets. The exit code is the account's, 0 for a dry run."""
    ctx = context(arguments)
    homes.refuse_file(ctx.home)
    targets = _targets(arguments, ctx)
    return _run(
        _request(arguments, ctx, targets, arguments.dry_run), _observer(ctx, console), console, _again(arguments)
    )


def plan(arguments: argparse.Namespace, console: Console) -> int:
    """Say what `ingest` would do."""
    ctx = context(arguments)
    homes.refuse_file(ctx.home)
    request = _request(arguments, ctx, _targets(arguments, ctx), True)
    return _run(request, _observer(ctx, console), console, _again(arguments))


def retry(arguments: argparse.Namespace, console: Console) -> int:
    """Do again what failed."""
    ctx = context(arguments)
    ctx.required()
    if arguments.reason and arguments.reason not in {**FAILURES, **REJECTIONS}:
        raise UsageError(f"--class {arguments.reason}: known are {', '.join(sorted({**FAILURES, **REJECTIONS}))}")
    tokens, minutes = moments.budget(arguments.budget)
    request = IngestRequest(
        home=str(ctx.home),
        config=str(ctx.config) if ctx.config else None,
        targets=(arguments.source,) if arguments.source else (),
        limit=arguments.limit,
        budget_tokens=tokens,
        budget_minutes=minutes,
        retry=Retry(arguments.source, arguments.reason, tuple(arguments.uri)),
        priority=arguments.priority,
    )
    return _run(request, _observer(ctx, console), console, _retry_again(arguments))


def _request(arguments: argparse.Namespace, ctx: Context, targets: tuple[str, ...], dry_run: bool) -> IngestRequest:
    tokens, minutes = moments.budget(arguments.budget)
    now = time.time()  # noqa: TID251 - the clock of the run itself is not there yet
    since, until = moments.window(arguments.since, arguments.until, now, ("--since", "--until"))
    return IngestRequest(
        home=str(ctx.home),
        config=str(ctx.config) if ctx.config else None,
        targets=targets,
        name=arguments.name,
        limit=arguments.limit,
        dry_run=dry_run,
        confirm_deletions=getattr(arguments, "confirm_deletions", 0),
        since=since,
        until=until,
        budget_tokens=tokens,
        budget_minutes=minutes,
        full=arguments.full,
        priority=arguments.priority,
    )


def _again(arguments: argparse.Namespace) -> str:
    """The `ingest` of the same, to be typed again; without a limit, which would only stop it again."""
    words = ["penstock", "ingest", *arguments.targets, *(["--as", arguments.name] if arguments.name else [])]
    for option, value in (("--since", arguments.since), ("--until", arguments.until)):
        words += [option, value] if value else []
    words += _first(arguments)
    return shlex.join(words) + same_place(arguments)


def _retry_again(arguments: argparse.Namespace) -> str:
    """The `retry` of the same."""
    words = ["penstock", "retry"]
    for option, value in (("--source", arguments.source), ("--class", arguments.reason)):
        words += [option, value] if value else []
    for uri in arguments.uri:
        words += ["--uri", uri]
    words += _first(arguments)
    return shlex.join(words) + same_place(arguments)


def _first(arguments: argparse.Namespace) -> list[str]:
    """How its priority is said."""
    said: str | None = arguments.priority
    return [] if said is None else ["--urgent"] if said == "urgent" else ["--priority", said]


def _run(request: IngestRequest, watcher: Observer, console: Console, again: str) -> int:
    try:
        # Imported once the bar is up: prefect alone takes a second.
        from penstock.flows.runs.launch import ingest as run

        account: Accounting = run(request, watcher)
    finally:
        watcher.finished()
    account.check()
    console.answer(msgspec.to_builtins(account), accounting(account, request.dry_run, again))
    return COMPLETE if request.dry_run else account.exit_code()


def _observer(ctx: Context, console: Console) -> Observer:
    """Nobody where stderr is the structured log: what a run says is in it."""
    return Quiet() if ctx.settings.logs.file == STDERR else observer(console)


def observer(console: Console) -> Observer:
    """A bar where a person looks at stderr, else a line now and then."""
    if console.err.isatty() and os.environ.get("TERM") != "dumb":
        return Live(console.err, time.monotonic)
    return Lines(console.err, time.monotonic)


def _targets(arguments: argparse.Namespace, ctx: Context) -> tuple[str, ...]:
    """Refuse what cannot be meant before anything is made or imported; names are for the run to resolve."""
    targets: tuple[str, ...] = tuple(arguments.targets)
    made = (ctx.home / homes.MARK).exists() or ctx.layout().remote
    if arguments.priority == "urgent" and not targets:
        raise UsageError("--urgent: name what is urgent: a folder, a file or a source; not everything can go first")
    if not targets and not ctx.settings.sources and not made:
        raise UsageError("nothing to ingest: name a folder, a file or a source, or configure [sources.NAME]")
    if arguments.name and (len(targets) != 1 or not Path(targets[0]).is_dir()):
        raise UsageError("--as names the source of one folder; give exactly one folder with it")
    for target in targets:
        _check(target, ctx)
    return targets


def _check(target: str, ctx: Context) -> None:
    """A target is a path that exists or a name; a word without a slash may be a source of the index."""
    if target in ctx.settings.sources or os.path.lexists(Path(target).expanduser()):
        return
    if not (ctx.home / homes.MARK).exists():
        raise UsageError(f"{target}: there is no such file or folder; check the path")
