"""One embedding at a time per device and host: the truth of a slot is a file lock.

The lock lives in a directory that all processes of this host share, whichever index they serve. The kernel
frees it the moment its holder dies, so a killed run never blocks the next.

Whoever waits leaves a ticket beside it, locked as well: a dead waiter's counts no more. The best ticket goes next: the
lowest priority number, then the first that came. So that nobody waits for ever, the one that came first of all has its
turn after some that overtook it (`MOST_OVERTAKING`).
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

URGENT, SCHEDULED, BACKFILL = 0, 1, 2
MOST_OVERTAKING = 8
"""Turns in a row that may go to somebody else than to whoever came first."""
_POLL_SECONDS = 0.1
_GLANCES = 2000
_SILENT_NS = 5_000_000_000
"""A waiter that did not ask for so long is stopped, or stuck: it is overtaken until it asks again."""


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
    priority: int = SCHEDULED,
) -> Iterator[bool]:
    """Hold the slot of `device` (`cpu`, `cuda-0`, …). Yields False if `stopped` came before the slot did.

    `waiting` is called once if the slot is taken, or somebody else's turn, so that a person learns why nothing moves.
    """
    waiter = _Waiter(_Line(where, _name(device)), priority)
    try:
        told = False
        while (taken := waiter.ask()) is not True:
            if stopped():
                yield False
                return
            if taken is False and not told:
                waiting()
                told = True
            sleep(_POLL_SECONDS)
        yield True
    finally:
        waiter.leave()


def waiting_better(device: str, priority: int, *, where: Path) -> bool:
    """Whether somebody waits for the slot of `device` who goes before `priority`: a holder may give way."""
    line = _Line(where, _name(device))
    with line.looked_at() as book:
        return book is not None and any(ticket.priority < priority for ticket in line.tickets(book.now))


@dataclass(frozen=True, slots=True)
class _Ticket:
    priority: int
    number: int
    """Counts arrivals."""


@dataclass(slots=True)
class _Book:
    """What the line remembers: the next ticket's number, and how many overtook in a row."""

    number: int
    overtaking: int
    now: int
    """By the clock of the file system, nanoseconds."""


class _Line:
    """Those who wait for one device."""

    def __init__(self, where: Path, name: str) -> None:
        self.slot = where / f"{name}.lock"
        self._where, self._name, self._book = where, name, where / f"{name}.line"

    @contextmanager
    def looked_at(self) -> Iterator[_Book | None]:
        """The book, for a moment, to change; None while somebody else looks at it."""
        fd = opened(self._book)
        try:
            if not _soon(fd):
                yield None
                return
            os.utime(fd)
            book = _read(fd)
            yield book
            os.pwrite(fd, f"{book.number:>20} {book.overtaking:>20}\n".encode(), 0)
        finally:
            os.close(fd)

    def path(self, ticket: _Ticket) -> Path:
        return self._where / f"{self._name}.{ticket.priority}.{ticket.number}.ticket"

    def tickets(self, now: int) -> list[_Ticket]:
        """Those of waiters that live and ask; what the dead left is removed. Only while the book is looked at."""
        found = []
        for entry in os.scandir(self._where):
            name, _, rest = entry.name.partition(".")
            priority, _, number = rest.removesuffix(".ticket").partition(".")
            if name != self._name or not entry.name.endswith(".ticket") or not (priority + number).isdecimal():
                continue
            with suppress(FileNotFoundError):  # it was given up meanwhile
                if now - entry.stat(follow_symlinks=False).st_mtime_ns < _SILENT_NS and self._alive(Path(entry.path)):
                    found.append(_Ticket(int(priority), int(number)))
        return found

    def _alive(self, ticket: Path) -> bool:
        fd = os.open(ticket, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if not _try(fd):
                return True
            with suppress(PermissionError):  # another user's
                ticket.unlink()
            return False
        finally:
            os.close(fd)


class _Waiter:
    """One who wants the slot, until `leave`."""

    def __init__(self, line: _Line, priority: int) -> None:
        self._line, self._priority = line, priority
        self._slot = opened(line.slot)
        self._ticket: _Ticket | None = None
        self._shown = -1

    def ask(self) -> bool | None:
        """Take the slot if it is free and our turn. None: nobody could tell at this moment."""
        with self._line.looked_at() as book:
            if book is None:
                return None
            others = self._line.tickets(book.now)
            book.number = max([book.number, *(ticket.number + 1 for ticket in others)])  # it may have begun anew
            ours = self._show(book)
            tickets = {ours, *others}
            first = min(tickets, key=lambda ticket: ticket.number)
            best = min(tickets, key=lambda ticket: (ticket.priority, ticket.number))
            if ours != (first if book.overtaking >= MOST_OVERTAKING else best) or not _try(self._slot):
                return False
            book.overtaking = 0 if ours == first else book.overtaking + 1
            os.utime(self._slot)  # what is old in a folder for temporary files may be cleaned away
            self._hide()
            return True

    def leave(self) -> None:
        """Give back the slot, or the place in the line."""
        self._hide()
        os.close(self._slot)

    def _show(self, book: _Book) -> _Ticket:
        """Our ticket, with a sign that we are still asking."""
        if self._ticket is None:
            while self._line.path(ticket := _Ticket(self._priority, book.number)).exists():
                book.number += 1
            book.number += 1
            self._ticket, self._shown = ticket, opened(self._line.path(ticket))
            fcntl.flock(self._shown, fcntl.LOCK_EX)
        os.utime(self._shown)
        return self._ticket

    def _hide(self) -> None:
        if self._ticket is not None:
            self._line.path(self._ticket).unlink(missing_ok=True)
            os.close(self._shown)
        self._ticket = None


def opened(path: Path) -> int:
    """A descriptor of a file that all users of this host may lock; made if it is not there."""
    while True:
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        # in a directory for everybody, Linux lets nobody open another's file in a way that could make one
        with suppress(FileExistsError):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            os.fchmod(fd, 0o666)
            return fd


def _read(fd: int) -> _Book:
    """A book that cannot be read is a new one."""
    words = os.pread(fd, 100, 0).split()
    number, overtaking = (int(word) for word in words) if len(words) == 2 and b"".join(words).isdigit() else (0, 0)
    return _Book(number, overtaking, os.fstat(fd).st_mtime_ns)


def _name(device: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in device)


def _soon(fd: int) -> bool:
    """A lock that is held for some microseconds, unless its holder was stopped just then."""
    for _ in range(_GLANCES):
        if _try(fd):
            return True
        os.sched_yield()
    return False


def _try(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
