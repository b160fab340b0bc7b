"""The `snapshot` commands."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from penstock.flows.commands.arguments import EXITS, Parser, command, positive
from penstock.flows.commands.cli_care import rate

if TYPE_CHECKING:
    from penstock.flows.commands.arguments import Commands


def add_snapshots(commands: Commands, everywhere: Parser) -> None:
    """Add them."""
    snapshot = commands.add_parser("snapshot", help="name, list, verify and expire versions in the DR stores",
        epilog=EXITS, parents=[everywhere], formatter_class=argparse.RawDescriptionHelpFormatter,
        description="A snapshot is a version with a name in the DR stores of [snapshots]: it stays there for as\n"
        "long as was said. Everything but `create` works without the home: name the DR store with --store.",
    )  # fmt: skip
    verbs = snapshot.add_subparsers(metavar="VERB", required=True, title="verbs")
    _add_create(verbs, everywhere)
    looks = [
        command(
            verbs, everywhere, "list", "what has a name, and from when to when there are versions",
            "List the snapshots of each DR store, how long they are kept, what they need and what they alone need.\n\n"
            "  penstock snapshot list\n"
            "  penstock snapshot list --store s3://dr/penstock --variables DR_", "snapshot",
        ),
        command(verbs, everywhere, "show", "what is in a snapshot", "Show what is in a snapshot: counts, sources, the "
                "model, and what it needs.", "snapshot"),
        _add_verify(verbs, everywhere),
        command(verbs, everywhere, "hold", "keep a snapshot, whatever the policy says",
                "Keep a snapshot until it is released.", "snapshot"),
        command(verbs, everywhere, "release", "let the policy decide again", "Hold a snapshot no longer.", "snapshot"),
        _add_expire(verbs, everywhere),
    ]  # fmt: skip
    for one in looks:
        one.add_argument("--store", action="append", default=[], metavar="URL", help="this DR store, configured or "
                         "not; may be repeated (default: those of [snapshots])")  # fmt: skip
        one.add_argument(
            "--variables", metavar="PREFIX_", help="its credentials are PREFIX_AWS_ACCESS_KEY_ID and so on"
        )
    for one in (looks[1], looks[3], looks[4]):
        one.add_argument("name", metavar="NAME", help="its name, as `penstock snapshot list` shows it")


def _add_create(verbs: Commands, everywhere: Parser) -> None:
    create = command(
        verbs, everywhere, "create", "give the newest version a name in every DR store",
        "Ship what is not there yet, then give the newest version a name in each DR store. Only what is new is\n"
        "copied. Ends with 0 only if all of them have it, with 2 if another version has that name.\n\n"
        "  penstock snapshot create --keep-for 90d\n"
        "  penstock snapshot create --name before-migration --hold", "snapshot",
    )  # fmt: skip
    create.add_argument("--name", metavar="NAME", help="letters, digits, _ . and - (default: the time, UTC)")
    create.add_argument("--keep-for", metavar="TIME", help="90d, 12h or 2w (default: while it is among the newest "
                        "keep_last of those without a time)")  # fmt: skip
    create.add_argument("--hold", action="store_true", help="keep it until `penstock snapshot release`")


def _add_verify(verbs: Commands, everywhere: Parser) -> Parser:
    verify = command(
        verbs, everywhere, "verify", "check every byte that a restore would need",
        "Read every byte of the newest version and of all snapshots, each blob once, and name what is wrong, what\n"
        "it spoils, and the newest version that is whole. Changes nothing. Ends with 1 if anything is wrong.\n\n"
        "  penstock snapshot verify\n"
        "  penstock snapshot verify before-migration --store /mnt/dr/penstock", "snapshot",
    )  # fmt: skip
    which = verify.add_mutually_exclusive_group()
    which.add_argument("name", metavar="NAME", nargs="?", help="this snapshot only")
    which.add_argument("--version", type=positive, metavar="V", help="this version only")
    which.add_argument("--all", action="store_true", help="every version that is there")
    verify.add_argument("--rate", type=rate, metavar="MB", help="read at most so many megabytes a second")
    return verify


def _add_expire(verbs: Commands, everywhere: Parser) -> Parser:
    expire = command(
        verbs, everywhere, "expire", "delete what the policy lets go of",
        "Delete from each DR store the snapshots whose time is over and, of those without a time, all but the\n"
        "newest; versions without a name that are older than is kept; and what only these needed. Held ones and the\n"
        "newest version always stay. May be cut short and repeated; needs the right to delete there.\n\n"
        "  penstock snapshot expire --dry-run\n"
        "  penstock snapshot expire --keep-last 7 --keep-days 30", "snapshot",
    )  # fmt: skip
    expire.add_argument("--keep-last", type=_whole, metavar="N", help="snapshots without a time that stay (default: "
                        "snapshots.keep_last)")  # fmt: skip
    expire.add_argument("--keep-days", type=_days, metavar="D", help="how long every version stays after the next one "
                        "came (default: snapshots.keep_days)")  # fmt: skip
    expire.add_argument("--dry-run", action="store_true", help="say what would go; delete nothing")
    return expire


def _whole(word: str) -> int:
    if not word.isdecimal():
        raise argparse.ArgumentTypeError(f"{word!r} is not a number from 0 up")
    return int(word)


def _days(word: str) -> float:
    try:
        days = float(word)
    except ValueError:
        days = -1.0
    if not 0 <= days < float("inf"):
        raise argparse.ArgumentTypeError(f"{word!r} is not a number of days")
    return days
