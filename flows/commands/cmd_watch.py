"""`watch`: look at the index again and again, say what is wrong, and serve the figures to Prometheus."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from penstock.flows.answers import watch as answers
from penstock.flows.answers.exits import COMPLETE, INCOMPLETE, UsageError
from penstock.flows.commands.console import Console
from penstock.flows.commands.context import context
from penstock.flows.config.home import Home
from penstock.flows.config.settings import Settings
from penstock.flows.metrics import textfiles
from penstock.flows.metrics.exporter import Exporter, address, open_to_all
from penstock.flows.metrics.look import Look
from penstock.flows.metrics.watching import PATIENCE, TO_READ, Watcher
from penstock.flows.runs.stop import Stop, on_signals

MISSED = 3
"""So many looks may fail to come before `/healthz` says so."""


def watch(arguments: argparse.Namespace, console: Console) -> int:
    """With `--once` one look: 1 if something is wrong. Else until Ctrl-C or SIGTERM."""
    if arguments.once and arguments.listen:
        raise UsageError("--once looks once and ends: leave --listen out")
    ctx = context(arguments)
    home = ctx.required()
    watcher = Watcher(ctx.settings, home, console.say)
    try:
        if arguments.once:
            look = watcher.look()
            textfiles.leave(ctx.settings, home.path, look, console.say)
            console.answer(answers.payload(look), answers.text(look))
            return INCOMPLETE if look.problems else COMPLETE
        return _go_on(arguments, ctx.settings, home, console, watcher)
    finally:
        watcher.close()


def _go_on(arguments: argparse.Namespace, settings: Settings, home: Home, console: Console, watcher: Watcher) -> int:
    from penstock.flows import wiring
    from penstock.flows.metrics import exposition
    from penstock.flows.metrics.exporter import Page
    from penstock.flows.metrics.state import StateFigures

    stop, said = Stop(), _Said(console)
    exporter = _listening(arguments, console, wiring.clock)
    figures: StateFigures | None = None
    with on_signals(stop, lambda _: None):
        try:
            while not stop():
                look = watcher.look()
                figures = figures or StateFigures(look.home)
                if exporter is not None:
                    exporter.page = Page(exposition.text(figures.after(look)), wiring.clock())
                else:
                    textfiles.leave(settings, home.path, look, console.say)
                said(look)
                stop.wait(max(1.0, arguments.every - look.seconds))
        finally:
            if exporter is not None:
                exporter.close()
    return COMPLETE


def _listening(arguments: argparse.Namespace, console: Console, clock: Callable[[], float]) -> Exporter | None:
    if not arguments.listen:
        return None
    from penstock.flows.metrics.exposition import CONTENT_TYPE

    try:
        host, port = address(arguments.listen)
        fresh = MISSED * max(arguments.every, PATIENCE + TO_READ)
        exporter = Exporter(host, port, content_type=CONTENT_TYPE, fresh=fresh, clock=clock)
    except ValueError as wrong:
        raise UsageError(f"--listen: {wrong}") from None
    except OSError as fault:
        raise UsageError(f"--listen {arguments.listen}: {fault.strerror or fault}; choose another port") from None
    exporter.start()
    if open_to_all(host):
        console.say(
            f"{arguments.listen} is open to other machines: whoever reaches it reads names of sources and places"
        )
    console.say(f"serving {exporter.url}")
    return exporter


class _Said:
    """Says a look where it differs from the one before: what is wrong, and that it is well again."""

    def __init__(self, console: Console) -> None:
        self._console, self._before = console, None

    _before: frozenset[str] | None

    def __call__(self, look: Look) -> None:
        now = frozenset(each.key for each in look.problems)
        if self._console.as_json:
            self._console.json_line(answers.payload(look))
        elif now != self._before:
            self._console.write(answers.verdict(look))
            for each in look.problems:
                if self._before is None or each.key not in self._before:
                    self._console.write(f"  {each.kind}: {each.said}; {each.step}")
        self._before = now
