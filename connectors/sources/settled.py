"""A local file, ready to be read: a regular one, readable, and old enough for its time stamp to mean something."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from penstock.connectors.sources.folder import why
from penstock.connectors.sources.quoting import quoted, shown
from penstock.connectors.types import Item, RetryLater

_GRANULE = 0.05
_COARSE_GRANULE = 2.0
_MARGIN = 0.001  # seconds as a float are exact to less than that
_LOOKS = 4


def version_of(found: os.stat_result) -> str:
    """Changes when the content does, given that the time stamp had settled when the file was read."""
    return f"{found.st_mtime_ns}-{found.st_size}"


def item_of(uri: str, path: str, found: os.stat_result) -> Item:
    """The item that a regular file is listed as; `path` becomes its locator."""
    return Item(
        uri=uri, locator=quoted(path), version=version_of(found), size=found.st_size, modified=found.st_mtime_ns / 1e9
    )


def settle(path: Path, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
    """Returns when a rewrite of `path` could not hide behind the same time stamp any more.

    File systems stamp in steps: two writes of the same size within one step leave the same version token. So
    a file written just now is waited out, 50 ms, or 2 s where stamps are whole seconds. `clock` gives
    seconds since 1970. Raises `RetryLater`, and `FileNotFoundError` if there is no such file.
    """
    try:
        for _ in range(_LOOKS):
            found = _looked_at(path)
            granule = _GRANULE if found.st_mtime_ns % 1_000_000_000 else _COARSE_GRANULE
            age = clock() - found.st_mtime_ns / 1e9
            if abs(age) >= granule:
                return
            sleep(granule - age + _MARGIN)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RetryLater(f"{why(error)}: {shown(str(path))}", reason="unreadable") from error
    raise RetryLater(f"still being written: {shown(str(path))}", reason="changing")


def _looked_at(path: Path) -> os.stat_result:
    """Opens it, since only that tells whether it can be read; never waits for the other end of a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "no longer a regular file")
    return found
