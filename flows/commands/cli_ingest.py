"""The commands that put documents into the index, or say what that would do: what can be asked of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.flows.commands.arguments import Parser, command, positive

if TYPE_CHECKING:
    from penstock.flows.commands.arguments import Commands


def add_ingest(commands: Commands, everywhere: Parser) -> None:
    """`init`, `ingest`, `plan`, `retry`."""
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
        "  penstock ingest --config penstock.toml     all sources of the file\n"
        "  penstock ingest wiki --budget minutes=30   stop at a shard boundary after half an hour\n"
        "  penstock ingest --urgent ./handbook/a.pdf  now: what runs on the device gives way, and a run that\n"
        "                                             works on the handbook is not waited for",
    )
    _targets(ingest)
    _priority(ingest)
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
        "say what an ingest would do and cost",
        "Say what `ingest` of the same would do and cost, and change nothing. It waits for nobody, so it\n"
        "takes --urgent and --priority only to take the same words.",
    )
    _targets(plan)
    _priority(plan)
    retry = command(
        commands,
        everywhere,
        "retry",
        "try again what failed, now and nothing else",
        "Do exactly the documents again that failed, without listing a source and without waiting for their\n"
        "next try. Rejected documents are meant only by their class or uri.\n\n"
        "  penstock retry\n"
        "  penstock retry --source wiki --class throttled\n"
        "  penstock retry --uri handbook/scan.pdf",
    )
    retry.add_argument("--source", metavar="NAME", default="", help="only of this source")
    retry.add_argument("--class", dest="reason", metavar="REASON", default="", help="only with this reason")
    retry.add_argument("--uri", action="append", default=[], metavar="URI", help="only this document; may be repeated")
    _priority(retry)
    _spending(retry)


def _targets(parser: Parser) -> None:
    parser.add_argument("targets", nargs="*", metavar="PATH_OR_SOURCE", help="folders, files or sources")
    parser.add_argument("--as", dest="name", metavar="NAME", help="name of the source, for one folder")
    parser.add_argument("--since", metavar="TIME", help="only what changed since then: 2026-11-21, or 7d")
    parser.add_argument("--until", metavar="TIME", help="only what changed before then")
    parser.add_argument("--full", action="store_true", help="list everything, not only what a source says has changed")
    _spending(parser)


def _priority(parser: Parser) -> None:
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--urgent",
        dest="priority",
        action="store_const",
        const="urgent",
        help="before everything else: --priority urgent",
    )
    either.add_argument(
        "--priority",
        choices=("urgent", "scheduled", "backfill"),
        help="who goes first where a device is wanted (default: as its sources are configured, else scheduled)",
    )


def _spending(parser: Parser) -> None:
    parser.add_argument("--limit", type=positive, metavar="N", help="work on at most N documents, defer the rest")
    parser.add_argument(
        "--budget",
        action="append",
        default=[],
        metavar="WHAT",
        help="tokens=2M or minutes=30: stop at a shard boundary when so much is spent, defer the rest",
    )
