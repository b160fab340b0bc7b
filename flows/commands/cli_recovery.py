"""The commands for the day on which everything here is lost: DR stores, restore, drills."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from penstock.flows.commands.arguments import Parser, command

if TYPE_CHECKING:
    from penstock.flows.commands.arguments import Commands


def add_recovery(commands: Commands, everywhere: Parser) -> None:
    """Add them."""
    _add_drill(commands, everywhere)


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
