"""Blocks of blobs kept nearby: a folder shared by readers, and a little memory. Nothing in them is ever needed.

The folder: `{blob name[:2]}/{blob name}.{start}-{end}`, written to `tmp/` and renamed. Nothing is synced: whoever
reads a block verifies it against the blob's own sums, and one that is torn or damaged is dropped and fetched again.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

_TMP = "tmp"
_STALE = 3600.0
"""Seconds after which what lies in `tmp/` belongs to nobody: writing a block takes far less."""
_SPARE = 16
"""A process looks through the folder after writing this part of the limit: the excess of each is that much."""


class BlockCache:
    """A folder of at most about `limit` bytes; the block that was not used for longest goes first.

    Any number of processes may use it, and any may be killed: the others never see half a block under its name.
    A full disk, a folder that vanished, no right to write: then nothing is kept, and nobody is told, because
    nothing is lost. Use is noted as a file's modification time.
    """

    def __init__(self, folder: Path, limit: int = 2 << 30) -> None:
        self.folder, self.limit = folder, limit
        self._lock = threading.Lock()
        self._written = self._count = 0
        self._looked = False

    def get(self, key: str, start: int, end: int) -> bytes | None:
        """What was kept, not verified; None if nothing was."""
        path = self._path(key, start, end)
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return data

    def has(self, key: str, start: int, end: int) -> bool:
        """Whether something is kept."""
        return self._path(key, start, end).exists()

    def put(self, key: str, start: int, end: int, data: bytes) -> None:
        """Keep verified bytes, unless they are more than the whole cache may hold."""
        if len(data) > self.limit:
            return
        path = self._path(key, start, end)
        with self._lock:
            self._count += 1
            temp = self.folder / _TMP / f"{os.getpid()}.{id(self):x}.{self._count}"
        try:
            temp.parent.mkdir(parents=True, exist_ok=True)
            path.parent.mkdir(exist_ok=True)
            self._make_room(len(data))
            temp.write_bytes(data)
            temp.rename(path)
        except OSError:
            with contextlib.suppress(OSError):
                temp.unlink()

    def drop(self, key: str, start: int, end: int) -> bool:
        """Forget a block; True if there was one."""
        try:
            self._path(key, start, end).unlink()
        except OSError:
            return False
        return True

    def _path(self, key: str, start: int, end: int) -> Path:
        name = key.rsplit("/", 1)[-1]
        return self.folder / name[:2] / f"{name}.{start}-{end}"

    def _make_room(self, size: int) -> None:
        with self._lock:
            self._written += size
            if self._looked and self._written <= self.limit // _SPARE:
                return
            self._written, self._looked = size, True
        _sweep_temp(self.folder / _TMP)
        files = sorted(_files(self.folder))
        total = size + self.limit // _SPARE + sum(length for _, length, _ in files)
        for _, length, path in files:
            if total <= self.limit:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108  # a folder of thousands: strings are enough
            total -= length


class RecentBlocks:
    """The last blocks that were read, up to `limit` bytes in memory. Shared by threads."""

    def __init__(self, limit: int) -> None:
        self._limit, self._size = limit, 0
        self._lock = threading.Lock()
        self._blocks: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()

    def get(self, key: tuple[str, int, int]) -> bytes | None:
        with self._lock:
            data = self._blocks.get(key)
            if data is not None:
                self._blocks.move_to_end(key)
            return data

    def put(self, key: tuple[str, int, int], data: bytes) -> None:
        with self._lock:
            self._size += len(data) - len(self._blocks.pop(key, b""))
            self._blocks[key] = data
            while self._size > self._limit:
                self._size -= len(self._blocks.popitem(last=False)[1])

    def drop(self, key: tuple[str, int, int]) -> bool:
        with self._lock:
            data = self._blocks.pop(key, None)
            self._size -= len(data or b"")
            return data is not None


def _files(folder: Path) -> Iterator[tuple[float, int, str]]:
    """(last use, size, path) of every block."""
    for shelf in _entries(folder):
        if shelf.name != _TMP and shelf.is_dir(follow_symlinks=False):
            for entry in _entries(Path(shelf.path)):
                with contextlib.suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    yield found.st_mtime, found.st_size, entry.path


def _sweep_temp(folder: Path) -> None:
    """Remove what killed processes left. The folder's own time is that of its last change: no clock is needed."""
    with contextlib.suppress(OSError):
        os.utime(folder)
        now = folder.stat().st_mtime
        for entry in _entries(folder):
            with contextlib.suppress(OSError):
                if now - entry.stat(follow_symlinks=False).st_mtime > _STALE:
                    Path(entry.path).unlink()


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []
