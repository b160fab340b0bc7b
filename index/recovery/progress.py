"""How far a restore has come: one small file in the home, which decides everything that is random or depends on time.

While `restoring.json` is there the home is being restored, and the same command goes on where it was; at the end the
file is called `restored.json`, and says from where the index came.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from penstock.index.blobs import framed
from penstock.index.errors import Unavailable, of_local_disk
from penstock.index.types import Membership

UNFINISHED, FINISHED, LAID = "restoring.json", "restored.json", "restoring"
"""The file while it goes on, the file afterwards, and the folder with what was laid for the new lineage."""


class Origin(msgspec.Struct, frozen=True):
    """A DR store: where it is, and how the variables with its credentials begin (None: without a prefix)."""

    url: str
    variables: str | None = None


class Progress(msgspec.Struct, frozen=True):
    """`version` of index `was`, committed at `committed_at`, becomes version `now` of index `lineage`.

    `epoch`, `epoch_id`, `txn`, `made_at` and `membership` are those of its first record; `floor` is below it. `exact`:
    that version was asked for, and no other will do. `bad`: blobs that proved damaged in every DR store. `instead`:
    that version proved damaged, and this one is the newest whole one, 0 where none is. `refused`: the DR store that
    would not be fenced. `begun` and `ended` are seconds since the epoch.
    """

    format: int
    lineage: str
    was: str
    version: int
    committed_at: float
    now: int
    floor: int
    epoch: int
    epoch_id: str
    txn: str
    made_at: float
    membership: Membership
    origins: tuple[Origin, ...]
    exact: bool
    fork: bool
    begun: float
    ended: float = 0.0
    bad: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    instead: int | None = None
    refused: str = ""


def unfinished(home: Path) -> Progress | None:
    """The restore that is going on in this home, None if there is none. Raises `Corrupt`, `Unavailable`."""
    return _read(home / UNFINISHED)


def finished(home: Path) -> Progress | None:
    """The restore that this home came from, None if it is none. Raises `Corrupt`, `Unavailable`."""
    return _read(home / FINISHED)


def note(home: Path, progress: Progress) -> None:
    """Write it down, durably: whole, or as it was before. Raises `NoSpace`, `Unavailable`."""
    _put(home / UNFINISHED, progress)


def finish(home: Path, progress: Progress) -> None:
    """Say that the index is whole: from now on it may be written."""
    note(home, progress)
    (home / UNFINISHED).replace(home / FINISHED)
    _kept(home)


def _read(path: Path) -> Progress | None:
    try:
        return framed.decode(path.read_bytes(), Progress, str(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as fault:
        raise Unavailable(f"{path}: cannot be read: {fault.strerror}") from fault


def _put(path: Path, progress: Progress) -> None:
    temp = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with temp.open("wb") as out:
            out.write(framed.encode(progress))
            out.flush()
            os.fsync(out.fileno())
        temp.replace(path)
        _kept(path.parent)
    except OSError as fault:
        raise of_local_disk(fault, path) from fault


def _kept(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
