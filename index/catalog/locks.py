"""Who is alive: locks that are let go of when their holder dies, however it dies.

Locks here are for liveness only (who waits for whom, whose leftovers may be cleared away); no promise of the index
rests on them. A name is any text; the same name is the same lock for everybody who uses the same `Locks` place.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Held(Protocol):
    """A lock that is held until `release`, or the death of this process."""

    def release(self) -> None:
        """Let go. May be repeated; never raises."""


class Locks(Protocol):
    """A place where names are locked. Locks do not nest: a second `take` of a held name waits or gets None."""

    def take(self, name: str, *, wait: bool = True) -> Held | None:
        """Hold `name`; None if somebody (this process too) holds it and `wait` is False. Raises `OSError`,
        or `Unavailable` where the locks are kept by a server."""


class FileLocks:
    """Locks of the processes of one machine: a file per name in `folder`, removed when it is let go of."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self, name: str, *, wait: bool = True) -> Held | None:
        """As `Locks.take`; makes the folder. Raises `OSError`."""
        plain = name if _PLAIN.fullmatch(name) else "_" + hashlib.sha256(name.encode()).hexdigest()
        path = self._folder / f"{plain}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                # Its last holder may have removed the file while we waited: then it means nothing any more.
                if _is_still(path, descriptor):
                    return _File(path, descriptor)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)


class _File:
    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor

    def release(self) -> None:
        if self._descriptor < 0:
            return
        descriptor, self._descriptor = self._descriptor, -1
        try:
            # The name goes first, and only if it is still ours: nobody may lock a file that has no name.
            if _is_still(self._path, descriptor):
                self._path.unlink(missing_ok=True)
        except OSError:
            pass
        os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        there, here = path.stat(), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


class Session(Protocol):
    """A connection of its own to a database server, outside any transaction."""

    def scalar(self, statement: str, values: tuple[Any, ...] = ()) -> Any:
        """The first value of the answer. Raises `Unavailable`."""

    def close(self) -> None:
        """Let go. May be repeated; never raises."""


class PostgresLocks:
    """Locks of all machines that share a PostgreSQL database: advisory locks, each on a session of its own.

    The server frees a lock when its session ends; the sessions probe the line, so that a machine that vanished
    is noticed within a minute. Needs a real session: no pooler that shares connections between transactions.
    """

    def __init__(self, connect: Callable[[], Session]) -> None:
        self._connect = connect

    def take(self, name: str, *, wait: bool = True) -> Held | None:
        """As `Locks.take`. Raises `Unavailable`."""
        session = self._connect()
        try:
            for setting, value in _SESSION.items():
                session.scalar("SELECT set_config(%s, %s, false)", (setting, value))
            key = int.from_bytes(hashlib.sha256(b"penstock " + name.encode()).digest()[:8], "big", signed=True)
            if wait:
                session.scalar("SELECT pg_advisory_lock(%s::bigint)", (key,))
            elif not session.scalar("SELECT pg_try_advisory_lock(%s::bigint)", (key,)):
                session.close()
                return None
        except BaseException:
            session.close()
            raise
        return _Advisory(session)


_SESSION = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_session_timeout": "0",
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}


class _Advisory:
    def __init__(self, session: Session) -> None:
        self._session = session

    def release(self) -> None:
        self._session.close()
