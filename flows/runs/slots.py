"""One embedding at a time per device and host: the truth of a slot is a file lock.

The lock lives in a directory that all processes of this host share, whichever index they serve. The kernel
frees it the moment its holder dies, so a killed run never blocks the next.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL_SECONDS = 0.1


def directory() -> Path:
    """The host-wide directory of slot locks; `PENSTOCK_SLOTS` names another."""
    path = Path(os.environ.get("PENSTOCK_SLOTS") or Path(tempfile.gettempdir()) / "penstock-slots")
    if not path.exists():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o1777)
    return path


@contextmanager
def hold(
    device: str,
    *,
    where: Path,
    sleep: Callable[[float], None],
    stopped: Callable[[], bool],
    waiting: Callable[[], None],
) -> Iterator[bool]:
    """Hold the slot of `device` (`cpu`, `cuda-0`, …). Yields False if `stopped` came before the slot did.

    `waiting` is called once if the slot is taken, so that a person learns why nothing moves.
    """
    name = "".join(c if c.isalnum() else "-" for c in device)
    fd = os.open(where / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        told = False
        while not _try(fd):
            if stopped():
                yield False
                return
            if not told:
                waiting()
                told = True
            sleep(_POLL_SECONDS)
        yield True
    finally:
        os.close(fd)


def _try(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
