"""Who is alive: a file lock that the system lets go of when its holder dies, however it dies.

Locks here are for liveness only (whose leftovers may be cleared away); no promise of the index rests on them.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class FileLock:
    """An exclusive lock on a file that it makes. Held until `release`, or the death of the process."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path, *, wait: bool = True) -> FileLock | None:
        """Lock `path`; None if somebody holds it and `wait` is False. A file removed meanwhile is made anew."""
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                os.close(descriptor)
                return None
            if _is_still(path, descriptor):
                return cls(path, descriptor)
            os.close(descriptor)

    def release(self, *, remove: bool = False) -> None:
        """Let go; with `remove`, the file goes first, so that nobody can lock a name that means nothing."""
        if remove:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        there, here = path.stat(), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
