"""The commands that care for an index that is there: its replicas, its health, its size, its stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.flows.arguments import Parser, command

if TYPE_CHECKING:
    from penstock.flows.arguments import Commands


def add_care(commands: Commands, everywhere: Parser) -> None:
    """Add them."""
    _add_stores(commands, everywhere)


def _add_stores(commands: Commands, everywhere: Parser) -> None:
    analyze = command(
        commands, everywhere, "analyze-store", "what a bucket or a folder really guarantees",
        "Try what a replica relies on: racing conditional puts, reading and listing what was just put,\n"
        "deleting; and say how long each takes. Nothing of it is left there. Needs no home. Ends with 1 if a\n"
        "promise is broken: such a store cannot keep a replica.\n\n"
        "  penstock analyze-store s3://bucket/prefix\n"
        "  penstock analyze-store /mnt/share/penstock",
    )  # fmt: skip
    analyze.add_argument("url", metavar="URL", help="s3://bucket/prefix, gs://, az://, or an existing folder")
