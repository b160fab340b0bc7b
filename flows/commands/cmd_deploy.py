"""`deploy`: make the Prefect deployments that the configuration asks for."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from penstock.flows.answers.exits import COMPLETE, INCOMPLETE, UsageError
from penstock.flows.commands.console import Console
from penstock.flows.commands.context import context
from penstock.flows.config.settings import DEFAULT_FILE

if TYPE_CHECKING:
    from penstock.flows.deploying.applying import Applied, Outcome

_SAID = {
    "made": "made",
    "changed": "changed",
    "unchanged": "unchanged",
    "deleted": "deleted",
    "kept": "kept",
    "theirs": "left alone",
}
_WIDEST = 60
"""Characters of a name in the table; --json has all of them."""
_WOULD = {"made": "to make", "changed": "to change", "deleted": "to delete"}


def deploy(arguments: argparse.Namespace, console: Console) -> int:
    """Bring the Prefect server in step. Exit code 1 if something of somebody else has a name that is needed."""
    ctx = context(arguments)
    if ctx.config is None:
        raise UsageError(f"there is no configuration to deploy: write {DEFAULT_FILE}, or name one with --config")
    console.sign("asking the Prefect server …")
    from penstock.flows import wiring
    from penstock.flows.deploying.applying import Wanted, apply

    wanted = Wanted(wiring.clock(), arguments.keep, arguments.dry_run, arguments.take_over)
    done = apply(ctx.settings, ctx.config, wanted, ctx.home if arguments.home else None)
    console.answer({"ok": done.ok, **msgspec.to_builtins(done)}, _told(done))
    return COMPLETE if done.ok else INCOMPLETE


def _told(done: Applied) -> str:
    lines = [_verdict(done), ""]
    lines += _table(done)
    extra = [*done.infrastructure, *done.automations]
    lines += ["", *(f"{line}." for line in extra)] if extra else []
    lines += ["", *(f"Mind: {note}." for note in done.notes)] if done.notes else []
    for name in (each.name for each in done.deployments if each.outcome == "theirs"):
        lines += ["", f"{name} is somebody else's and was left alone: `prefect deployment delete '{name}'`, or"]
        lines += ["`penstock deploy --take-over`, which makes all of these ours."]
        break
    if not done.dry_run:
        lines += ["", f"Next, where the index is to live: prefect worker start --pool {done.pool}"]
    return "\n".join(lines)


def _verdict(done: Applied) -> str:
    counts = Counter(each.outcome for each in done.deployments)
    words = {**_SAID, **(_WOULD if done.dry_run else {})}
    said = ", ".join(f"{counts[key]} {words[key]}" for key in _SAID if counts[key])
    return f"{said}{'; nothing was changed' if done.dry_run else ''}."


def _table(done: Applied) -> list[str]:
    words = {**_SAID, **(_WOULD if done.dry_run else {})}
    rows: list[tuple[str, ...]] = [("deployment", "", "queue", "schedule", "next")]
    rows += [_row(each, words[each.outcome]) for each in done.deployments]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(each: Outcome, outcome: str) -> tuple[str, ...]:
    said = f"{outcome} ({each.detail})" if each.detail else outcome
    name = each.name if len(each.name) <= _WIDEST else f"{each.name[: _WIDEST - 1]}…"
    return name, said, each.queue, each.schedule or ("on demand" if each.queue else ""), each.next
