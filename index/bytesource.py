"""Where a blob's bytes come from: a local file, or memory."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import BinaryIO, Protocol


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

    The descriptor is kept, so a file that is deleted can still be read; when the process has no more
    descriptors, the file is opened for each read instead.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name, self._path = name, path
        self._file: BinaryIO | None = None
        try:
            self._file = path.open("rb", buffering=0)
            self.size = os.fstat(self._file.fileno()).st_size
        except OSError as fault:
            if fault.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            self.size = path.stat().st_size

    @property
    def path(self) -> Path | None:
        return self._path

    def read(self, start: int, end: int) -> bytes:
        if self._file is not None:
            return _pread(self._file, start, end)
        with self._path.open("rb", buffering=0) as file:
            return _pread(file, start, end)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _pread(file: BinaryIO, start: int, end: int) -> bytes:
    """Read [start, end) although one call may return less (Linux stops at 2 GiB)."""
    pieces = []
    while start < end and (piece := os.pread(file.fileno(), end - start, start)):
        pieces.append(piece)
        start += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
