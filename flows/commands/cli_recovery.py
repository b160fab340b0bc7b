"""The commands for the day on which everything here is lost: DR stores, restore, drills."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from penstock.flows.commands.arguments import Parser, command, positive
from penstock.flows.commands.cli_snapshot import add_snapshots

if TYPE_CHECKING:
    from penstock.flows.commands.arguments import Commands


def add_recovery(commands: Commands, everywhere: Parser) -> None:
    """Add them."""
    _add_ship(commands, everywhere)
    add_snapshots(commands, everywhere)
    _add_drill(commands, everywhere)
    _add_restore(commands, everywhere)
    _add_rollback(commands, everywhere)


def _add_ship(commands: Commands, everywhere: Parser) -> None:
    ship = command(
        commands, everywhere, "ship", "copy every version to the DR stores",
        "Copy to each DR store of [snapshots] what was committed and is not there yet, and look whether the newest\n"
        "version there is whole. Runs do that by themselves while they commit; this catches up. Ends with 1 if more\n"
        "was committed meanwhile.\n\n"
        "  penstock ship\n"
        "  penstock ship --follow",
    )  # fmt: skip
    ship.add_argument("--follow", action="store_true", help="stay, and ship what is committed, until Ctrl-C or SIGTERM")
    ship.add_argument("--anew", action="store_true", help="begin anew where all that was shipped is gone; else that is "
                      "taken for a disk that is not mounted")  # fmt: skip


def _add_drill(commands: Commands, everywhere: Parser) -> None:
    drill = command(
        commands, everywhere, "drill", "show that what was shipped brings the index back",
        "Restore the newest shipped version of each DR store into a scratch place, verify every byte of it, ask it\n"
        "and production the same questions, and compare the hits. Changes nothing in production, and leaves\n"
        "nothing behind. Ends with 1 if the drill failed, with 3 if it could not be held.\n\n"
        "  penstock drill\n"
        "  penstock drill --scratch /mnt/big --from s3://bucket/penstock",
    )  # fmt: skip
    drill.add_argument("--from", dest="from_", metavar="URL", help="this DR store only, whether or not it is "
                       "configured")  # fmt: skip
    drill.add_argument("--scratch", type=Path, metavar="DIR", help="an existing folder to restore into (default: the "
                       "home, for as long as it takes)")  # fmt: skip
    drill.add_argument("--keep", action="store_true", help="leave the restored home there, and say where")


def _add_restore(commands: Commands, everywhere: Parser) -> None:
    restore = command(
        commands, everywhere, "restore", "bring the index back from a DR store",
        "Bring a version back from one or several DR stores into an empty home: the newest that is whole, unless\n"
        "one is named. It can be searched at once, and written when everything is there. Every byte is verified.\n"
        "The same command goes on with one that was cut short. What is restored is an index of its own; the old one\n"
        "is shut out, unless --fork is given. Ends with 3 if what was asked for is damaged.\n\n"
        "  penstock restore --from s3://dr/penstock --home ./restored\n"
        "  penstock restore --from /mnt/dr/penstock --at 2026-11-20T18:00Z --home ./restored",
    )  # fmt: skip
    restore.add_argument(
        "--from", dest="from_", action="append", default=[], metavar="STORE",
        help="the DR store; may be repeated, and what one has damaged another may have (default: [snapshots] store)",
    )  # fmt: skip
    restore.add_argument(
        "--variables", metavar="PREFIX_", help="its credentials are PREFIX_AWS_ACCESS_KEY_ID and so on"
    )
    which = restore.add_mutually_exclusive_group()
    which.add_argument("--snapshot", metavar="NAME", help="the version with this name")
    which.add_argument("--at", metavar="TIME", help="the newest version of that time: 2026-11-21T08:00Z, or 7d")
    which.add_argument("--version", type=positive, metavar="V", help="this version")
    restore.add_argument("--fork", action="store_true", help="the old index goes on: do not shut it out")
    restore.add_argument("--over", action="store_true", help="move aside what is in the home; nothing is deleted")


def _add_rollback(commands: Commands, everywhere: Parser) -> None:
    rollback = command(
        commands, everywhere, "rollback", "go back to what an older version held",
        "Commit what an older version held as a new version. Nothing is embedded, and no DR store is needed: the\n"
        "version must still be kept here ([keep]). Each source that differs is held: runs leave it as it is until\n"
        "`penstock sources resume`. Shows what would change, and asks. A rollback can be undone by another one.\n\n"
        "  penstock rollback --to 12 --dry-run\n"
        "  penstock rollback --to 2026-11-20T18:00Z",
    )  # fmt: skip
    rollback.add_argument(
        "--to", required=True, metavar="V|TIME",
        help="a version (12), or the newest one of a time: 2026-11-21T08:00Z, or 7d",
    )  # fmt: skip
    rollback.add_argument("--dry-run", action="store_true", help="say what would change; change nothing")
    rollback.add_argument("--yes", action="store_true", help="do not ask")
