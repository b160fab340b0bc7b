"""The file of an SQLite catalog that is made again: what is damaged is set aside, what is new appears whole.

A kill at any moment leaves the file damaged, absent or whole; in the first two cases the next rebuilding goes on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from penstock.index.errors import Corrupt, Unavailable
from penstock.index.stores.rename import rename_noreplace

_JOURNALS = ("-journal", "-wal", "-shm")


def identity(path: Path) -> tuple[int, int] | None:
    """Which file has this name now, None if none has."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def check_whole(db: sa.Connection, name: str) -> None:
    """Raise `Corrupt` if SQLite finds anything wrong in the file, its indexes included."""
    found = db.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
    if found != "ok":
        raise Corrupt(f"catalog {name} is damaged ({found})")


def set_aside(path: Path, seen: tuple[int, int], mark: str) -> None:
    """Rename a damaged file, then its journals. Not one that somebody else put there since it was `seen`."""
    if identity(path) != seen:
        raise Unavailable(f"catalog {path} was replaced while it was looked at: run again")
    # The file first: with its journal gone it might look whole, with half a transaction in it.
    path.rename(path.with_name(f"{path.name}.damaged-{mark}"))
    set_aside_strays(path, mark)


def set_aside_strays(path: Path, mark: str) -> None:
    """Rename journals that belong to no file any more: SQLite would play them back into the new one."""
    for ending in _JOURNALS:
        stray = path.with_name(path.name + ending)
        if stray.exists():
            stray.rename(path.with_name(f"{path.name}.damaged-{mark}{ending}"))
    _sync(path.parent)


@contextmanager
def beside(path: Path, mark: str) -> Iterator[Path]:
    """A name to make the new file under; afterwards the file gets its own, unless somebody else's has it."""
    fresh = path.with_name(f"{path.name}.rebuilding-{mark}")
    for ending in ("", *_JOURNALS):
        fresh.with_name(fresh.name + ending).unlink(missing_ok=True)
    yield fresh
    if not rename_noreplace(fresh, path):
        fresh.unlink()
        raise Unavailable(f"catalog {path} appeared while it was made again: run again")
    _sync(path.parent)
    for left in path.parent.glob(f"{path.name}.rebuilding-*"):
        left.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
