"""The command line: what can be asked, and nothing of how it is answered.

Only the standard library is imported here, so that `penstock --help` is instant; a command's module,
and with it prefect, torch or faiss, is imported when that command runs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import MutableMapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from penstock.flows.arguments import EXITS, Parser, command, common, positive, show
from penstock.flows.cli_care import add_care
from penstock.flows.console import Console, standard

if TYPE_CHECKING:
    from penstock.flows.arguments import Commands

_CLOUDS = ("AWS_", "AZURE_", "GOOGLE_")
# command -> (module, function)
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("cmd_ingest", "init"),
    "ingest": ("cmd_ingest", "ingest"),
    "plan": ("cmd_ingest", "plan"),
    "search": ("cmd_search", "search"),
    "status": ("cmd_status", "status"),
    "failures": ("cmd_status", "failures"),
    "verify": ("cmd_upkeep", "verify"),
    "sources list": ("cmd_sources", "list_"),
    "sources rebind": ("cmd_sources", "rebind"),
    "sources remove": ("cmd_sources", "remove"),
    "repair": ("cmd_upkeep", "repair"),
    "compact": ("cmd_upkeep", "compact"),
    "collect": ("cmd_upkeep", "collect"),
    "replica list": ("cmd_replica", "list_"),
    "replica add": ("cmd_replica", "add"),
    "replica remove": ("cmd_replica", "remove"),
    "replica replace": ("cmd_replica", "replace"),
    "replica quorum": ("cmd_replica", "quorum"),
    "analyze-store": ("cmd_analyze", "analyze_store"),
    "export": ("cmd_export", "export"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code; raises nothing."""
    code = _main(argv)
    if argv is None:  # this is the process, not a call
        from penstock.flows.stop import leave

        leave(code)
    return code


def _main(argv: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    console = standard("--json" in words, bool({"-v", "--verbose"} & set(words)))
    try:
        _forget_empty(os.environ)
        try:
            arguments = build_parser().parse_args(words)
        except SystemExit as stop:  # --help and --version
            return stop.code if isinstance(stop.code, int) else 0
        return _run(arguments, console)
    except BaseException as error:  # a library written in Rust panics with one that is no Exception
        return console.fail(error)


def _forget_empty(environ: MutableMapping[str, str]) -> None:
    """An empty variable is an unset one. The clients of buckets read them by themselves, and break on an empty one."""
    for name in [name for name, value in environ.items() if not value and name.startswith(_CLOUDS)]:
        del environ[name]


def _run(arguments: argparse.Namespace, console: Console) -> int:
    module, function = COMMANDS[arguments.command]
    with console.guarded():
        run = getattr(import_module(f"penstock.flows.{module}"), function)
        code: int = run(arguments, console)
    return code


def build_parser() -> Parser:
    """All commands and options."""
    # One set for the top and another for the commands: argparse keeps defaults in the actions themselves, and a
    # shared action's default would overwrite what was given before the command.
    everywhere = common()
    parser = Parser(
        prog="penstock",
        description="Keep a replicated, searchable vector index in step with folders of documents.",
        epilog="first steps:\n  penstock ingest ./documents\n  penstock search 'how do I ...?'\n"
        "  penstock status\n\n" + EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common()],
    )
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    parser.set_defaults(home=None, config=None, json=False, verbose=False)
    commands = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")
    _add_writing(commands, everywhere)
    _add_reading(commands, everywhere)
    _add_sources(commands, everywhere)
    add_care(commands, everywhere)
    return parser


class _Version(argparse.Action):
    """Looks the version up only when asked: importlib.metadata is not free."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *rest: object) -> NoReturn:
        from importlib.metadata import version

        show(f"penstock {version('penstock')}")
        parser.exit(0)


def _add_writing(commands: Commands, everywhere: Parser) -> None:
    command(commands, everywhere, "init", "make an empty home", "Make an empty home. `ingest` does it too.")
    ingest = command(
        commands,
        everywhere,
        "ingest",
        "index documents; only what changed costs anything",
        "Bring the index in step with folders, files or configured sources. Unchanged documents cost\n"
        "nothing; changed ones are replaced, removed ones go away, in one commit each. Ctrl-C finishes the\n"
        "commit in hand; the same command again goes on, also after a crash.\n\n"
        "  penstock ingest ./handbook                 a folder is a source, named after the folder\n"
        "  penstock ingest ./handbook --as manual     ... or named as you like\n"
        "  penstock ingest ./handbook/new             a part of a known source: infers no deletion\n"
        "  penstock ingest report.pdf                 a lone file belongs to the source `adhoc`\n"
        "  penstock ingest --config penstock.toml     all sources of the file",
    )
    ingest.add_argument("targets", nargs="*", metavar="PATH_OR_SOURCE", help="folders, files or sources")
    ingest.add_argument("--as", dest="name", metavar="NAME", help="name of the source, for one folder")
    ingest.add_argument("--limit", type=positive, metavar="N", help="index at most N, defer the rest")
    ingest.add_argument("--dry-run", action="store_true", help="say what would be done; change nothing")
    ingest.add_argument(
        "--confirm-deletions",
        type=positive,
        default=0,
        metavar="N",
        help="believe that up to N documents are gone at once",
    )
    plan = command(
        commands,
        everywhere,
        "plan",
        "say what an ingest would do",
        "Say what `ingest` of the same would do, and change nothing. Needs a home.",
    )
    plan.add_argument("targets", nargs="*", metavar="PATH_OR_SOURCE", help="as for ingest")
    plan.add_argument("--as", dest="name", metavar="NAME", help="as for ingest")
    plan.add_argument("--limit", type=positive, metavar="N", help="as for ingest")


def _add_reading(commands: Commands, everywhere: Parser) -> None:
    search = command(
        commands,
        everywhere,
        "search",
        "find the passages that answer a question",
        "Find the passages nearest to a question, best first.\n\n"
        "  penstock search 'What happens when a replica is lost?'\n"
        "  penstock search --queries questions.jsonl -k 10 --json\n"
        "  penstock search 'travel costs' --source handbook --where team=docs --label internal\n\n"
        "Each line of the queries file is an object with `_id` or `id`, and `text`; the answer is one JSON\n"
        "line per query. FILE `-` is stdin.",
    )
    search.add_argument("question", nargs="?", metavar="QUESTION", help="what you would like to know")
    search.add_argument("--queries", type=Path, metavar="FILE", help="questions as JSON lines; - is stdin")
    search.add_argument(
        "--where", action="append", default=[], metavar="KEY=VALUE",
        help="only passages with this metadata; may be repeated, one key twice means either",
    )  # fmt: skip
    search.add_argument(
        "--label", action="append", default=[], metavar="L",
        help="only passages with this access label, or another that is given",
    )  # fmt: skip
    search.add_argument("--source", metavar="NAME", help="only passages from this source")
    search.add_argument("--exact", action="store_true", help="compare with every passage, also in a large index")
    search.add_argument("-k", type=positive, default=5, metavar="N", help="so many hits (default: 5)")
    command(
        commands, everywhere, "status", "one verdict, the next command, the figures",
        "Say how the index is, what to type next, and the figures behind it.",
    )  # fmt: skip
    failures = command(
        commands, everywhere, "failures", "documents that are not indexed, and why",
        "List failed documents (they are tried again) and rejected ones (until they change).",
    )  # fmt: skip
    failures.add_argument("--source", metavar="NAME", help="only of this source")


def _add_sources(commands: Commands, everywhere: Parser) -> None:
    sources = commands.add_parser("sources", help="list, re-bind or remove sources", epilog=EXITS, parents=[everywhere],
        description="A source is where documents come from: its name stays, its place may change.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    verbs = sources.add_subparsers(metavar="VERB", required=True, title="verbs")
    command(verbs, everywhere, "list", "the sources and where they are", "List the sources.", "sources")
    rebind = command(
        verbs, everywhere, "rebind", "a source moved",
        "Tell the index that a source is somewhere else now. No document is embedded again.\n\n"
        "  penstock sources rebind handbook /srv/handbook", "sources",
    )  # fmt: skip
    rebind.add_argument("old", metavar="OLD", help="the source's name, or where it was")
    rebind.add_argument("new", type=Path, metavar="NEW", help="where it is now: an existing folder")
    remove = command(
        verbs, everywhere, "remove", "forget a source and its documents",
        "Delete all documents of a source from the index, and the source itself.", "sources",
    )  # fmt: skip
    remove.add_argument("name", metavar="NAME", help="the source's name")
    remove.add_argument("--yes", action="store_true", help="do not ask")


if __name__ == "__main__":
    sys.exit(main())
