"""The commands that care for an index that is there: its health, its size, its replicas, its stores."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.flows.commands.arguments import EXITS, Parser, command, positive

if TYPE_CHECKING:
    from penstock.flows.commands.arguments import Commands


def add_care(commands: Commands, everywhere: Parser) -> None:
    """Add them."""
    _add_health(commands, everywhere)
    _add_replicas(commands, everywhere)
    _add_stores(commands, everywhere)


def _add_health(commands: Commands, everywhere: Parser) -> None:
    doctor = command(
        commands, everywhere, "doctor", "can it work here, how fast, and what holds it back",
        "Look at this machine, what is installed, the configuration and the folders; load the model, measure it\n"
        "for some seconds, and say whether parsers and sources can feed it. Needs no home, and changes nothing.\n"
        "Ends with 1 if it works with warnings, with 2 if nothing can be embedded here.\n\n"
        "  penstock doctor\n"
        "  penstock doctor --quick",
    )  # fmt: skip
    doctor.add_argument("--quick", action="store_true", help="load nothing, measure nothing")
    doctor.add_argument("--probe", action="store_true", help="ask a configured endpoint for the vector of a short text")
    verify = command(
        commands, everywhere, "verify", "check every byte on every replica",
        "Read the whole index on every replica, and check it against its digests, its log, and the documents\n"
        "against the vectors. Changes nothing. Ends with 1 if anything is wrong.\n\n"
        "  penstock verify --rate 50",
    )  # fmt: skip
    repair = command(
        commands, everywhere, "repair", "make the replicas whole again",
        "Put back on each replica what is missing or damaged there, from the others. What is good nowhere is\n"
        "named, and its documents are marked, so that the next `ingest` embeds exactly them again. May be cut\n"
        "short and repeated. Ends with 1 if something is left to do.\n\n"
        "  penstock repair\n"
        "  penstock repair --rate 50",
    )  # fmt: skip
    repair.add_argument(
        "--lost",
        action="append",
        default=[],
        metavar="ID",
        help="a replica, or a DR store, that is gone for good: do not wait for it to give up what is good nowhere",
    )
    for one in (verify, repair):
        one.add_argument("--rate", type=rate, metavar="MB", help="read at most so many megabytes a second")
    compact = command(
        commands, everywhere, "compact", "merge small segments, drop dead rows",
        "Merge segments of about the same size, and leave out the rows of deleted documents. No document\n"
        "changes, and nothing is embedded. `collect` frees the space.\n\n"
        "  penstock compact && penstock collect",
    )  # fmt: skip
    compact.add_argument("--full", action="store_true", help="into as few segments as there can be")
    collect = command(
        commands, everywhere, "collect", "delete what only expired versions needed",
        "Let versions expire as [keep] says, and delete what nothing else needs, from every replica. The newest\n"
        "version is never touched, nor what a commit in flight has put.\n\n"
        "  penstock collect --dry-run",
    )  # fmt: skip
    collect.add_argument("--dry-run", action="store_true", help="say what would go; delete nothing")


def _add_replicas(commands: Commands, everywhere: Parser) -> None:
    replicas = commands.add_parser("replica", help="list, add, remove or replace replicas", epilog=EXITS,
        parents=[everywhere], formatter_class=argparse.RawDescriptionHelpFormatter,
        description="A replica is a full copy of the index: a folder, or a prefix of a bucket. Which there are is a\n"
        "part of the index, so each change is a commit. Where penstock.toml names them, edit it first.",
    )  # fmt: skip
    verbs = replicas.add_subparsers(metavar="VERB", required=True, title="verbs")
    command(verbs, everywhere, "list", "the replicas and where they are", "List the replicas.", "replica")
    add = command(
        verbs, everywhere, "add", "copy everything to one more place",
        "Make one more replica: everything is copied there first, then it counts.\n\n"
        "  penstock replica add 2 /mnt/other/penstock\n"
        "  penstock replica add 2 s3://bucket/penstock", "replica",
    )  # fmt: skip
    remove = command(
        verbs, everywhere, "remove", "go on without a replica",
        "Go on without a replica. What lies there stays as it is; it need not answer.\n\n"
        "  penstock replica remove 1", "replica",
    )  # fmt: skip
    replace = command(
        verbs, everywhere, "replace", "put a replica somewhere else",
        "Put a replica somewhere else: everything is copied there from the others, then it counts. The old one\n"
        "need not answer, and is never written again.\n\n"
        "  penstock replica replace 1 /mnt/new/penstock", "replica",
    )  # fmt: skip
    quorum = command(
        verbs, everywhere, "quorum", "how many must have a commit",
        "Set how many replicas must have a commit before it counts: more than half of them.\n\n"
        "  penstock replica quorum 2", "replica",
    )  # fmt: skip
    for one in (add, remove, replace):
        one.add_argument("id", metavar="ID", help="the replica's id, as `penstock replica list` shows it")
    for one in (add, replace):
        one.add_argument("place", metavar="PLACE", nargs="?", help="a folder, or s3://bucket/prefix; by default the "
                         "one that penstock.toml names")  # fmt: skip
    for one in (add, remove):
        one.add_argument("--write-quorum", type=positive, metavar="N", help="how many must have a commit from now on")
    quorum.add_argument("write_quorum", type=positive, metavar="N", help="so many")


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
    export = command(
        commands, everywhere, "export", "the index as files that need no penstock",
        "Write all live vectors as a plain FAISS index, and their rows as Parquet, row i for vector i. No lock-in.\n\n"
        "  penstock export ./dump",
    )  # fmt: skip
    export.add_argument("directory", type=Path, metavar="DIR", help="a folder that is empty or not there")


def rate(word: str) -> float:
    """An option's value: megabytes a second."""
    try:
        megabytes = float(word)
    except ValueError:
        megabytes = 0.0
    if not 0 < megabytes < float("inf"):
        raise argparse.ArgumentTypeError(f"{word!r} is not a number of megabytes a second above 0")
    return megabytes
