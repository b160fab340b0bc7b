"""Which command goes on where an earlier one stopped: one that works as it is written, where there is such a one."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence

from penstock.flows.config.names import ADHOC

MOST_NAMED = 8
"""Lone files that a command names; of more, its reader knows which they were."""


def ingest(known: Collection[str], configured: Collection[str]) -> str:
    """A run, whichever: of everything where that says something, else of what only a person can name."""
    return "penstock ingest" if {*known, *configured} - {ADHOC} else "penstock ingest PATH"


def reopened(known: Collection[str], configured: Collection[str]) -> str:
    """What opens the index for writing, which is what mends it. An index of lone files needs none of them for that."""
    command = ingest(known, configured)
    return "penstock repair" if command.endswith("PATH") and known else command


def resumed(left: Mapping[str, Sequence[str]], known: Collection[str], configured: Collection[str]) -> str:
    """The run that takes over what lies in the spool. `left`: source → uris, as `spools.looking` found them."""
    names = sorted({*left} & ({*known, *configured} - {ADHOC}))
    if names:
        return shlex.join(["penstock", "ingest", *names])
    files = sorted({"/" + uri.removeprefix(f"{ADHOC}/") for uri in left.get(ADHOC, ())})
    return shlex.join(["penstock", "ingest", *files]) if 0 < len(files) <= MOST_NAMED else "penstock ingest PATH"
