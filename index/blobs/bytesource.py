"""Where a blob's bytes come from: memory, a local file, or a store that answers ranges."""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path
from typing import BinaryIO, ClassVar, Protocol, runtime_checkable

from penstock.index.blobs.blockcache import BlockCache, RecentBlocks
from penstock.index.stores.store import Store

BLOCK = 4 << 20
"""Bytes that are verified together, and fetched together from a store that is not local."""
MOST = max(16, min(256, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4))
"""Descriptors kept: a process may have few, and not all of them are ours."""

_SMALL = 256 << 10
"""Beyond this, copying costs more than handing the read to another thread."""


class ByteSource(Protocol):
    """Bytes by position. `read` returns fewer than asked when there are fewer; raises `OSError`, `Unavailable`.

    `name` begins with the store's. `steady`: what was read once reads the same for ever.
    """

    name: str
    steady: bool

    @property
    def path(self) -> Path | None: ...

    def read(self, start: int, end: int) -> bytes: ...

    def read_now(self, start: int, end: int) -> bytes | None:
        """As `read`, but without ever waiting for a device or a server: None if that would be needed."""
        ...

    def keep(self, start: int, end: int, data: bytes) -> None:
        """These bytes were verified: they may be kept nearby."""
        ...

    def discard(self, start: int, end: int) -> bool:
        """These bytes are damaged. True if they came from nearby and another `read` asks the store itself."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Opens(Protocol):
    """A store that makes its own sources, as one does that is read with a deadline."""

    def source(self, key: str, content: int, patient: bool) -> ByteSource: ...


def open_source(store: Store, key: str, content: int, *, patient: bool = True) -> ByteSource:
    """Open `key`, a blob of `content` bytes and a trailer. Raises `FileNotFoundError`, `OSError`, `Unavailable`."""
    if isinstance(store, Opens):
        return store.source(key, content, patient)
    path = store.local_path(key)
    where = f"{store.name}: {key}"
    return RangeSource(store, key, content, where) if path is None else FileSource(path, where)


class MemorySource:
    """Bytes that are already here; `path` is where they came from, if that was a file."""

    steady = True

    def __init__(self, data: bytes, name: str = "memory", path: Path | None = None) -> None:
        self.name = name
        self._path, self._data = path, data

    @property
    def path(self) -> Path | None:
        return self._path

    def read(self, start: int, end: int) -> bytes:
        return self._data[start:end]

    read_now = read

    def keep(self, start: int, end: int, data: bytes) -> None:
        return

    def discard(self, start: int, end: int) -> bool:
        return False

    def close(self) -> None:
        return


class FileSource:
    """A file, read with `pread` and never mapped: one that is cut short must not kill the process.

    The descriptor is kept, so a file that is deleted can still be read; once `MOST` are kept in this
    process, a further file is opened for each read instead.
    """

    steady = False
    _kept: ClassVar[set[int]] = set()
    """One entry for each descriptor kept: adding and discarding are atomic, counting up is not."""

    def __init__(self, path: Path, name: str) -> None:
        self.name, self._path = name, path
        self._file: BinaryIO | None = None
        file = path.open("rb", buffering=0)
        if len(FileSource._kept) < MOST:
            FileSource._kept.add(id(self))
            self._file = file
        else:
            file.close()

    @property
    def path(self) -> Path | None:
        return self._path

    def read(self, start: int, end: int) -> bytes:
        if self._file is not None:
            return _pread(self._file, start, end)
        with self._path.open("rb", buffering=0) as file:
            return _pread(file, start, end)

    def read_now(self, start: int, end: int) -> bytes | None:
        """What the page cache holds; None where the file system cannot say, as those over a network cannot."""
        if self._file is None or end - start > _SMALL:
            return None
        into = bytearray(end - start)
        try:
            count = os.preadv(self._file.fileno(), [into], start, os.RWF_NOWAIT)
        except OSError:
            return None
        return bytes(into) if count == len(into) else None

    def keep(self, start: int, end: int, data: bytes) -> None:
        return

    def discard(self, start: int, end: int) -> bool:
        return False

    def close(self) -> None:
        if self._file is not None and not self._file.closed:
            self._file.close()
            FileSource._kept.discard(id(self))

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # opening failed
            self.close()


class RangeSource:
    """A value of a store without local files, fetched block by block; what is beyond the content, as it is asked for.

    `cache` and `recent` are shared with other sources; by default nothing is kept but a few blocks in memory.
    """

    steady = False

    def __init__(
        self,
        store: Store,
        key: str,
        content: int,
        name: str,
        cache: BlockCache | None = None,
        recent: RecentBlocks | None = None,
    ) -> None:
        self.name = name
        self._store, self._key, self._content = store, key, content
        self._cache = cache
        self._recent = recent or RecentBlocks(2 * BLOCK)
        self._nearby: set[tuple[int, int]] = set()
        """What was last read from nearby and not from the store: only that is worth asking for again."""

    @property
    def path(self) -> Path | None:
        return None

    def read(self, start: int, end: int) -> bytes:
        pieces = []
        for first, last in self._parts(start, end):
            data = self._near(first, last)
            if data is None:
                data = self._store.get_range(self._key, first, last)
                self._nearby.discard((first, last))
                self._recent.put((self.name, first, last), data)
            pieces.append(data[max(start, first) - first : end - first])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read_now(self, start: int, end: int) -> bytes | None:
        parts = self._parts(start, end)
        near = [self._near(first, last) for first, last in parts]
        pieces = [
            data[max(start, first) - first : end - first]
            for data, (first, last) in zip(near, parts, strict=True)
            if data is not None
        ]
        return b"".join(pieces) if len(pieces) == len(parts) else None

    def keep(self, start: int, end: int, data: bytes) -> None:
        whole = self._parts(start, end) == [(start, end)]
        if self._cache is not None and whole and not self._cache.has(self._key, start, end):
            self._cache.put(self._key, start, end, data)

    def discard(self, start: int, end: int) -> bool:
        parts = self._parts(start, end)
        for first, last in parts:
            self._recent.drop((self.name, first, last))
            if self._cache is not None:
                self._cache.drop(self._key, first, last)
        return not self._nearby.isdisjoint(parts)

    def close(self) -> None:
        return

    def _near(self, start: int, end: int) -> bytes | None:
        data = self._recent.get((self.name, start, end))
        if data is None and self._cache is not None:
            data = self._cache.get(self._key, start, end)
            if data is not None:
                self._recent.put((self.name, start, end), data)
        if data is not None:
            self._nearby.add((start, end))
        return data

    def _parts(self, start: int, end: int) -> list[tuple[int, int]]:
        if end > self._content:
            return [(start, end)]
        first, last = start // BLOCK, -(-end // BLOCK)
        return [(n * BLOCK, min((n + 1) * BLOCK, self._content)) for n in range(first, last)]


def _pread(file: BinaryIO, start: int, end: int) -> bytes:
    """Read [start, end) although one call may return less (Linux stops at 2 GiB)."""
    pieces = []
    while start < end and (piece := os.pread(file.fileno(), end - start, start)):
        pieces.append(piece)
        start += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
