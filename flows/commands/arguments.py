"""What all commands of the command line share: the parser, the options that stand everywhere, the exit codes.

Only the standard library is imported here, so that `penstock --help` is instant.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from penstock.flows.answers.exits import UsageError
from penstock.flows.commands.console import Console

EXITS = """\
exit codes:
  0    complete (documents that were rejected, with a reason, are a result)
  1    finished, but documents failed, were deferred or withheld; verify: something is wrong
  2    usage or configuration: the message says what to change
  3    the index is unavailable or in conflict: the message says what to repair
  130  interrupted
"""


class Parser(argparse.ArgumentParser):
    """argparse, with errors that leave through the same door as all others, and no guessed abbreviations."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")

    def print_help(self, file: object = None) -> None:
        show(self.format_help().rstrip("\n"))


def show(text: str) -> None:
    """Where argparse would be silent about a stdout that cannot be written."""
    Console(sys.stdout, sys.stderr).write(text)


if TYPE_CHECKING:
    # typeshed has no public name for what add_subparsers returns
    Commands: TypeAlias = argparse._SubParsersAction["Parser"]


def common() -> Parser:
    """The options that every command takes."""
    parser = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    group = parser.add_argument_group("everywhere")
    group.add_argument("--home", type=Path, metavar="DIR", help="the index's folder (default: ./.penstock)")
    group.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the settings (default: ./penstock.toml if it is there and --home is not given)",
    )
    group.add_argument(
        "--json",
        action="store_true",
        help="one JSON object on stdout, errors included (`search --queries`: one object per question)",
    )
    group.add_argument("-v", "--verbose", action="store_true", help="say more; show where an error came from")
    return parser


def command(
    commands: Commands,
    everywhere: Parser,
    name: str,
    short: str,
    long: str,
    of: str = "",
) -> Parser:
    """Add one command. `short` stands in the list of commands, `long` in its own help; `of`: the word before it."""
    parser = commands.add_parser(
        name,
        help=short,
        description=long,
        epilog=EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[everywhere],
    )
    parser.set_defaults(command=f"{of} {name}".strip())
    return parser


def positive(word: str) -> int:
    """An option's value: a number from 1 up."""
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word!r} is not a number from 1 up")
    return int(word)
