"""Where the budgets of one machine are kept: a small file for each name, changed under a lock.

For several machines there is `index.catalog.cells`, with the same method.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MAGIC = b"penstock-budget 1 "
_HEAD = len(_MAGIC) + 8 + 1 + 16 + 1
"""Length in hex, a digest's first half in hex: what a torn write left is not taken for a value."""
TORN = b"\0"
"""What `change` hands to `act` for a file that holds something else than what was written: no JSON."""


class FileLedger:
    """A `Ledger` in `folder`, which is made when it is first needed: for all processes of one machine.

    The lock is the kernel's and goes with its holder, so that a killed process holds up nobody. Nothing is synced to
    the disk: after a power cut the value may be an older one, or unreadable. Raises `OSError`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, name: str) -> Path:
        """The file of `name`, which is any text."""
        plain = name if _PLAIN.fullmatch(name) else "_" + hashlib.sha256(name.encode()).hexdigest()
        return self._folder / f"{plain}.budget"

    def change(self, name: str, act: Callable[[bytes], tuple[bytes, T]]) -> T:
        """As `Ledger.change`."""
        # Opened anew each time: a descriptor that a fork shares would share its lock as well.
        descriptor = self._open(self.path(name))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            before = _value(_read(descriptor))
            after, answer = act(before)
            if after != before:
                _write(descriptor, _framed(after))
            return answer
        finally:
            os.close(descriptor)

    def _open(self, path: Path) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(path, flags, 0o644)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(path, flags, 0o644)


def _read(descriptor: int) -> bytes:
    first = os.pread(descriptor, 16_384, 0)
    if len(first) < 16_384:
        return first
    return first + os.pread(descriptor, os.fstat(descriptor).st_size, 16_384)


def _write(descriptor: int, data: bytes) -> None:
    # One call, over what was there: the head says where the value ends. The rest is cut off for people who look.
    done = os.pwrite(descriptor, data, 0)
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], done)
    os.ftruncate(descriptor, len(data))


def _framed(value: bytes) -> bytes:
    return _MAGIC + b"%08x %s\n" % (len(value), _digest(value)) + value


def _value(data: bytes) -> bytes:
    if not data:
        return b""
    head = data[:_HEAD]
    try:
        size = int(head[len(_MAGIC) : len(_MAGIC) + 8], 16)
    except ValueError:
        return TORN
    value = data[_HEAD : _HEAD + size]
    return value if head == _framed(value)[:_HEAD] and len(value) == size else TORN


def _digest(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=8).hexdigest().encode()
