"""A replica that nobody can ask: it did not answer a moment ago, or its place is gone or was never said here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from penstock.index.errors import Unavailable


class Absent:
    """Stands where a store should be; whatever is asked of it, it is away."""

    def __init__(self, name: str) -> None:
        self.name = name

    def _away(self) -> NoReturn:
        raise Unavailable(f"{self.name}: is not there")

    def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        self._away()

    def get(self, key: str) -> bytes:
        self._away()

    def get_range(self, key: str, start: int, end: int) -> bytes:
        self._away()

    def size(self, key: str) -> int | None:
        self._away()

    def list(self, prefix: str) -> Iterator[str]:
        self._away()

    def delete(self, key: str) -> None:
        self._away()

    def local_path(self, key: str) -> Path | None:
        self._away()

    def probe(self) -> None:
        self._away()
