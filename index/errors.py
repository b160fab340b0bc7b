"""Errors of the index, named for what the caller does next. Conflict and unknown are never the same."""

from __future__ import annotations

import errno
from pathlib import Path


class IndexFault(Exception):
    """Base of what the index raises. The message is one line for the operator: what, where, what to do."""


class Unavailable(IndexFault):
    """Too few replicas, or no catalog, right now: reading may go on, writing stops; try again after repair."""


class Corrupt(IndexFault):
    """Bytes are not what their name says. Read another replica; repair this one."""


class Conflict(IndexFault):
    """Somebody else changed the same thing first: look at the new head and plan again."""


class Fenced(IndexFault):
    """A newer epoch exists: this writer must stop and open the index anew."""


class Unknown(IndexFault):
    """The outcome could not be learned: read back before doing anything else."""


class NoSpace(Unavailable):
    """The disk is full. Nothing is damaged; make room and run again."""


class WrongIndex(IndexFault):
    """This is not what the caller thinks: another lineage, another membership, a newer format, no index at all."""


class NotRetained(WrongIndex):
    """That version is not published here: it has expired, or there never was one."""


def of_local_disk(error: OSError, where: Path) -> IndexFault:
    """A fault of the local disk, in one line that says what to do."""
    at = error.filename or where
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(f"{at}: the disk is full; nothing is damaged: make room and run again")
    return Unavailable(f"{at}: {error.strerror or error}; mend that and run again")
