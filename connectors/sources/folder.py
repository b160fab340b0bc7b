"""One folder of a local file system, read as of one moment."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

_READS = 4


def entries(path: Path) -> tuple[deque[os.DirEntry[str]], bool]:
    """What a folder holds, by name; false if it changed in each of the moments in which it was read.

    What is renamed while a folder is read, as editors do to save a file, may be missing on either side. Raises
    `OSError`.
    """
    for _ in range(_READS):
        before = path.stat().st_mtime_ns
        with os.scandir(path) as found:
            each = deque(sorted(found, key=lambda entry: os.fsencode(entry.name)))
        if path.stat().st_mtime_ns == before:
            return each, True
    return each, False


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Not a link to one. False where it cannot be told: looking at it as a file says why."""
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def why(error: OSError) -> str:
    """What the operating system says, as the beginning of a line."""
    return (error.strerror or str(error)).lower()
