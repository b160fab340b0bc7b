"""The commands for whoever runs this on a schedule."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.flows.commands.arguments import Parser, command, positive

if TYPE_CHECKING:
    from penstock.flows.commands.arguments import Commands


def add_operate(commands: Commands, everywhere: Parser) -> None:
    """Add them."""
    _add_up(commands, everywhere)
    _add_deploy(commands, everywhere)
    _add_watch(commands, everywhere)


def _add_deploy(commands: Commands, everywhere: Parser) -> None:
    deploy = command(
        commands, everywhere, "deploy", "make the Prefect deployments that the configuration asks for",
        "Make the work pool, its queues, one deployment for each configured source, those that people start, those\n"
        "that look after the index, and the automations, on the Prefect server of PREFECT_API_URL. Again after each\n"
        "change of the configuration: what is right already stays, what is not derived from it any more goes.\n"
        "Touches nothing that it did not make. Ends with 1 if something of somebody else has a name that is needed.\n\n"
        "  penstock deploy --dry-run\n"
        "  penstock deploy",
    )  # fmt: skip
    deploy.add_argument("--dry-run", action="store_true", help="say what would change; change nothing")
    deploy.add_argument("--keep", action="store_true", help="leave deployments of sources that are not configured "
                        "any more")  # fmt: skip
    deploy.add_argument("--take-over", action="store_true", help="make ours what has a name that is needed, and was "
                        "made by somebody else or by a configuration that lay elsewhere")  # fmt: skip


def _add_up(commands: Commands, everywhere: Parser) -> None:
    up = command(
        commands, everywhere, "up", "a Prefect server, a worker and the deployments, here, until Ctrl-C",
        "Start a Prefect server and a worker on this machine, deploy what the configuration asks for, and stay.\n"
        "Sources are ingested by their schedules from then on; the page that is named shows it. Ctrl-C stops all:\n"
        "running flows finish the commit in hand first, a second Ctrl-C ends everything at once. Uses and changes no\n"
        "Prefect that is there already. With --json: one object when it is up, one at the end. Ends with 3 if the\n"
        "server or the worker did not start, or ended by itself.\n\n"
        "  penstock up\n"
        "  penstock up --port 4300 --data /var/lib/penstock/prefect",
    )  # fmt: skip
    up.add_argument("--port", type=_port, default=4200, metavar="N", help="where the server listens, on 127.0.0.1 only "
                    "(default: 4200)")  # fmt: skip
    up.add_argument("--data", type=Path, metavar="DIR", help="the server's folder: its database and the logs (default: "
                    "prefect in the home)")  # fmt: skip
    up.add_argument("--worker", action=argparse.BooleanOptionalAction, default=True, help="start a worker (default)")


def _port(word: str) -> int:
    if not word.isdecimal() or not 1 <= int(word) <= 65535:
        raise argparse.ArgumentTypeError(f"{word!r} is not a port from 1 to 65535")
    return int(word)


def _add_watch(commands: Commands, everywhere: Parser) -> None:
    watch = command(
        commands, everywhere, "watch", "look at the index again and again, and say what is wrong",
        "Look at the replicas, the DR stores, the sources' freshness and budgets, and at how long searches take; say\n"
        "what somebody has to see to, and that it is well again. A look takes half a minute at most: who does not\n"
        "answer is said, not waited for. With --listen it serves the figures at /metrics, to this machine only unless\n"
        "another address is given, and /healthz. With --once it looks once and ends with 1 if something is wrong.\n\n"
        "  penstock watch --once\n"
        "  penstock watch --listen 127.0.0.1:9464 --every 60",
    )  # fmt: skip
    watch.add_argument(
        "--listen", nargs="?", const="127.0.0.1:9464", metavar="ADDRESS",
        help="serve Prometheus there, until Ctrl-C (default: 127.0.0.1:9464; port 0: any that is free)",
    )  # fmt: skip
    watch.add_argument("--every", type=positive, default=60, metavar="SECONDS", help="between two looks (default: 60)")
    watch.add_argument("--once", action="store_true", help="look once, say what was found, and end")
