"""What `penstock up` leaves in its server's folder for the next one: who it was, and what still has to be said.

up.lock       locked while one runs here; says who: {"mark", "pid", "port"}
killed.json   ids of flow runs whose process was killed, and whom the server may still take for running
paused        the work pool that was paused for stopping: the next one resumes it
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

_LOCK, _KILLED, _PAUSED = "up.lock", "killed.json", "paused"
_GLANCES = 50
_PAUSE = 0.1


class Who(msgspec.Struct, frozen=True):
    """One `penstock up`."""

    mark: str = ""
    pid: int = 0
    port: int = 0


class Busy(Exception):
    """Another one runs in this folder."""

    def __init__(self, who: Who) -> None:
        super().__init__(f"penstock up runs already (process {who.pid}, port {who.port})")
        self.who = who


@contextmanager
def locked(data: Path, who: Who, sleep: Callable[[float], None]) -> Iterator[tuple[int, Who]]:
    """Hold the folder. Gives the lock's descriptor, and who was here last. Raises `Busy`.

    Waits a moment, because whoever was killed has its processes ended while the lock is still held.
    """
    fd = os.open(data / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        for glance in range(_GLANCES):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                before = _read(fd)
                if glance == _GLANCES - 1 or _alive(before.pid):
                    raise Busy(before) from None
                sleep(_PAUSE)
        before = _read(fd)
        os.ftruncate(fd, 0)
        os.pwrite(fd, msgspec.json.encode(who), 0)
        yield fd, before
    finally:
        os.close(fd)


def killed(data: Path, runs: set[str]) -> None:
    """Remember these flow runs, with those that are remembered already."""
    every = remembered(data) | runs
    if not runs or not data.is_dir():
        return
    temp = data / f"{_KILLED}.{os.getpid()}"
    temp.write_bytes(msgspec.json.encode(sorted(every)))
    temp.replace(data / _KILLED)


def remembered(data: Path) -> set[str]:
    try:
        return set(msgspec.json.decode((data / _KILLED).read_bytes(), type=list[str]))
    except (OSError, msgspec.DecodeError):
        return set()


def forget(data: Path) -> None:
    (data / _KILLED).unlink(missing_ok=True)


def pausing(data: Path, pool: str) -> None:
    """Say it before it is done."""
    (data / _PAUSED).write_text(pool)


def paused(data: Path) -> str:
    """The pool that is still to be resumed; "" if there is none."""
    try:
        return (data / _PAUSED).read_text()
    except OSError:
        return ""


def resumed(data: Path) -> None:
    (data / _PAUSED).unlink(missing_ok=True)


def _read(fd: int) -> Who:
    try:
        return msgspec.json.decode(os.pread(fd, 4096, 0), type=Who)
    except msgspec.DecodeError:
        return Who()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0
