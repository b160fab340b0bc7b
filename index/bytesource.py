"""Where a blob's bytes come from: a local file, or memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Protocol

MOST = 256
"""Descriptors kept: a process may have 1024, and not all of them are ours."""


class ByteSource(Protocol):
    """Bytes by position. `read` returns fewer than asked when there are fewer, and raises `OSError`."""

    name: str
    size: int

    @property
    def path(self) -> Path | None: ...

    def read(self, start: int, end: int) -> bytes: ...

    def close(self) -> None: ...


class MemorySource:
    """Bytes that are already here; `path` is where they came from, if that was a file."""

    def __init__(self, data: bytes, name: str = "memory", path: Path | None = None) -> None:
        self.name, self.size = name, len(data)
        self._path, self._data = path, data

    @property
    def path(self) -> Path | None:
        return self._path

    def read(self, start: int, end: int) -> bytes:
        return self._data[start:end]

    def close(self) -> None:
        return


class FileSource:
    """A file, read with `pread` and never mapped: one that is cut short must not kill the process.

    The descriptor is kept, so a file that is deleted can still be read; once `MOST` are kept in this
    process, a further file is opened for each read instead.
    """

    _kept = 0

    def __init__(self, path: Path, name: str) -> None:
        self.name, self._path = name, path
        self._file: BinaryIO | None = None
        file = path.open("rb", buffering=0)
        self.size = os.fstat(file.fileno()).st_size
        if FileSource._kept < MOST:
            FileSource._kept += 1
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

    def close(self) -> None:
        if self._file is not None and not self._file.closed:
            self._file.close()
            FileSource._kept -= 1

    def __del__(self) -> None:
        self.close()


def _pread(file: BinaryIO, start: int, end: int) -> bytes:
    """Read [start, end) although one call may return less (Linux stops at 2 GiB)."""
    pieces = []
    while start < end and (piece := os.pread(file.fileno(), end - start, start)):
        pieces.append(piece)
        start += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
