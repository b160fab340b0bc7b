"""The commands about sources and single documents: what can be asked of them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from penstock.flows.commands.arguments import EXITS, Parser, command

if TYPE_CHECKING:
    from penstock.flows.commands.arguments import Commands


def add_documents(commands: Commands, everywhere: Parser) -> None:
    """`failures`, `explain`."""
    failures = command(
        commands, everywhere, "failures", "documents that are not indexed, and why",
        "List failed documents (they are tried again) and rejected ones (until they change).",
    )  # fmt: skip
    failures.add_argument("--source", metavar="NAME", help="only of this source")
    failures.add_argument("--class", dest="reason", metavar="REASON", help="only with this reason")
    explain = command(
        commands, everywhere, "explain", "everything that is known of a document or a chunk",
        "Say where a document or a chunk comes from, what it was made with, where it lies, or why it is not\n"
        "indexed. URI is as `search` and `failures` print it, or a file's path; CHUNK is a chunk's id.\n\n"
        "  penstock explain handbook/travel.md\n"
        "  penstock explain 3f0c2a…",
    )  # fmt: skip
    explain.add_argument("what", metavar="URI|CHUNK", help="a document's uri or path, or a chunk's id")


def add_sources(commands: Commands, everywhere: Parser) -> None:
    """`sources list|test|rebind|remove|resume`."""
    sources = commands.add_parser("sources", help="list, test, re-bind, remove or resume sources", epilog=EXITS,
        description="A source is where documents come from: its name stays, its place may change.",
        parents=[everywhere], formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    verbs = sources.add_subparsers(metavar="VERB", required=True, title="verbs")
    command(verbs, everywhere, "list", "the sources and where they are", "List the sources.", "sources")
    test = command(
        verbs, everywhere, "test", "try a source without writing anything",
        "Try one source: its settings and credentials, one page of its listing, one document fetched and\n"
        "parsed. Nothing is written.\n\n"
        "  penstock sources test wiki", "sources",
    )  # fmt: skip
    test.add_argument("name", metavar="NAME", help="a source of the configuration or of the index, or a folder")
    rebind = command(
        verbs, everywhere, "rebind", "a source moved",
        "Tell the index that a source is somewhere else now. No document is embedded again. A source of the\n"
        "configuration is changed there first; NEW is what it says.\n\n"
        "  penstock sources rebind handbook /srv/handbook", "sources",
    )  # fmt: skip
    rebind.add_argument("old", metavar="OLD", help="the source's name, or where it was")
    rebind.add_argument("new", metavar="NEW", help="where it is now: an existing folder, or the configured URL")
    remove = command(
        verbs, everywhere, "remove", "forget a source and its documents",
        "Delete all documents of a source from the index, and the source itself.", "sources",
    )  # fmt: skip
    remove.add_argument("name", metavar="NAME", help="the source's name")
    remove.add_argument("--yes", action="store_true", help="do not ask")
    resume = command(
        verbs, everywhere, "resume", "let sources go on that a rollback held",
        "Let sources go on that `penstock rollback` held. The next `ingest` lists them again and brings them up to\n"
        "date: what the source still has comes back.\n\n"
        "  penstock sources resume handbook wiki", "sources",
    )  # fmt: skip
    resume.add_argument("names", nargs="*", metavar="NAME", help="the source's name, or where it is")
    resume.add_argument("--all", action="store_true", help="every source that is held")
