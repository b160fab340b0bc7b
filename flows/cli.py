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

from penstock.flows.commands.arguments import EXITS, Parser, command, common, positive, show
from penstock.flows.commands.cli_care import add_care
from penstock.flows.commands.cli_ingest import add_ingest
from penstock.flows.commands.cli_operate import add_operate
from penstock.flows.commands.cli_recovery import add_recovery
from penstock.flows.commands.cli_sources import add_documents, add_sources
from penstock.flows.commands.console import Console, standard

if TYPE_CHECKING:
    from penstock.flows.commands.arguments import Commands

_CLOUDS = ("AWS_", "AZURE_", "GOOGLE_")
# command -> (module, function)
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("cmd_ingest", "init"),
    "ingest": ("cmd_ingest", "ingest"),
    "plan": ("cmd_ingest", "plan"),
    "search": ("cmd_search", "search"),
    "eval": ("cmd_eval", "evaluate"),
    "status": ("cmd_status", "status"),
    "failures": ("cmd_status", "failures"),
    "doctor": ("cmd_doctor", "doctor"),
    "verify": ("cmd_upkeep", "verify"),
    "retry": ("cmd_ingest", "retry"),
    "explain": ("cmd_explain", "explain"),
    "sources list": ("cmd_sources", "list_"),
    "sources test": ("cmd_test", "test"),
    "sources rebind": ("cmd_sources", "rebind"),
    "sources remove": ("cmd_sources", "remove"),
    "sources resume": ("cmd_sources", "resume"),
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
    "rollback": ("cmd_rollback", "rollback"),
    "ship": ("cmd_ship", "ship"),
    "snapshot create": ("cmd_snapshot", "create"),
    "snapshot list": ("cmd_snapshot", "list_"),
    "snapshot show": ("cmd_snapshot", "show"),
    "snapshot verify": ("cmd_snapshot", "verify"),
    "snapshot hold": ("cmd_snapshot", "hold"),
    "snapshot release": ("cmd_snapshot", "release"),
    "snapshot expire": ("cmd_snapshot", "expire"),
    "drill": ("cmd_drill", "drill"),
    "restore": ("cmd_restore", "restore"),
    "deploy": ("cmd_deploy", "deploy"),
    "watch": ("cmd_watch", "watch"),
    "up": ("cmd_up", "up"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code; raises nothing."""
    code = _main(argv)
    if argv is None:  # this is the process, not a call
        from penstock.flows.runs.stop import leave

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
        run = getattr(import_module(f"penstock.flows.commands.{module}"), function)
        code: int = run(arguments, console)
    return code


def build_parser() -> Parser:
    """All commands and options."""
    # One set for the top and another for the commands: argparse keeps defaults in the actions themselves, and a
    # shared action's default would overwrite what was given before the command.
    everywhere = common()
    parser = Parser(
        prog="penstock",
        description="Keep a replicated, searchable vector index in step with documents that live elsewhere.",
        epilog="first steps:\n  penstock ingest ./documents\n  penstock search 'how do I ...?'\n"
        "  penstock status\n\n" + EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common()],
    )
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    parser.set_defaults(home=None, config=None, json=False, verbose=False)
    commands = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")
    add_ingest(commands, everywhere)
    _add_reading(commands, everywhere)
    add_documents(commands, everywhere)
    add_sources(commands, everywhere)
    add_care(commands, everywhere)
    add_recovery(commands, everywhere)
    add_operate(commands, everywhere)
    return parser


class _Version(argparse.Action):
    """Looks the version up only when asked: importlib.metadata is not free."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *rest: object) -> NoReturn:
        from importlib.metadata import version

        show(f"penstock {version('penstock')}")
        parser.exit(0)


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
        "Each line of the queries file is an object with `_id` or `id`, and `text`; with --json the\n"
        "answer is JSON Lines, one object per question. FILE `-` is stdin.",
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
    _add_eval(commands, everywhere)
    command(
        commands, everywhere, "status", "one verdict, the next command, the figures",
        "Say how the index is, what to type next, and the figures behind it.",
    )  # fmt: skip


def _add_eval(commands: Commands, everywhere: Parser) -> None:
    judged = command(
        commands,
        everywhere,
        "eval",
        "how good the answers are, by your own judgements",
        "Ask the index questions that people have judged answers to, and print nDCG@10 and recall@100.\n\n"
        "  penstock eval queries.jsonl qrels/test.tsv\n"
        "  penstock eval topics.tsv qrels.txt --id stem --per-query\n\n"
        "QUERIES: JSON lines with `_id` and `text`, or lines of id, tab, text. QRELS: lines of query, document and\n"
        "grade with a header (BEIR), or of query, 0, document and grade (TREC). A document stands where its best\n"
        "passage does. Which document an id means: --id, else the way that finds most of them.",
    )
    judged.add_argument("queries", type=Path, metavar="QUERIES", help="the questions")
    judged.add_argument("qrels", type=Path, metavar="QRELS", help="which documents answer them, and how well")
    judged.add_argument("-k", type=positive, default=10, metavar="N", help="how deep nDCG looks (default: 10)")
    judged.add_argument(
        "--id", choices=("uri", "path", "name", "stem"),
        help="an id is a document's whole uri; that without the source's name; its last part; that without suffix",
    )  # fmt: skip
    judged.add_argument("--per-query", action="store_true", help="each question's figures, too")
    judged.add_argument("--exact", action="store_true", help="compare with every passage, also in a large index")


if __name__ == "__main__":
    sys.exit(main())
