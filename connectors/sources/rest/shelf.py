"""Listed objects, kept on local disk between the listing and the fetch, where an API has no page for a single one."""

from __future__ import annotations

import json
import os
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

_LIMIT = 1 << 30


class Shelf:
    """A file without a name, gone with the process. In memory: a key and a place for each object. Thread-safe."""

    def __init__(self, folder: Path, token: Callable[[], str], limit: int = _LIMIT) -> None:
        """`limit`: bytes of disk; nothing is touched before the first `put`."""
        self._folder, self._token, self._limit = folder, token, limit
        self._places: dict[tuple[str, str], tuple[int, int, int]] = {}
        self._end = 0
        self._file = -1
        self._lock = threading.Lock()

    def put(self, key: tuple[str, str], row: Any) -> bool:
        """Keep the object, in place of an older one of that key. False: there is no room, or it is nested so deeply
        that it could be read and cannot be written."""
        try:
            data = zlib.compress(json.dumps(row).encode(), 1)
        except RecursionError:
            with self._lock:
                self._places.pop(key, None)
            return False
        check = zlib.crc32(data)
        with self._lock:
            there = self._places.get(key)
            if there is not None and there[1:] == (len(data), check):
                return True
            if self._end + len(data) > self._limit:
                self._places.pop(key, None)  # an older one would pass for what was listed now
                return False
            try:
                written = os.pwrite(self._opened(), data, self._end)
            except OSError:
                written = 0
            if written < len(data):
                self._places.pop(key, None)
                return False
            self._places[key] = (self._end, len(data), check)
            self._end += len(data)
            return True

    def get(self, key: tuple[str, str]) -> Any:
        """The object; None if it is not here."""
        with self._lock:
            place = self._places.get(key)
            data = os.pread(self._file, place[1], place[0]) if place else b""
        return json.loads(zlib.decompress(data)) if place else None

    def clear(self) -> None:
        """Make room."""
        with self._lock:
            self._places.clear()
            self._end = 0
            if self._file >= 0:
                os.ftruncate(self._file, 0)

    def _opened(self) -> int:
        if self._file < 0:
            path = self._folder / f"rest-{self._token()}.shelf"
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            path.unlink()
        return self._file

    def __del__(self) -> None:
        if self._file >= 0:
            os.close(self._file)
