"""The texts of a shard's rows, for an encoder that sends texts to somebody else: read one by one, never all at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.index.decoding import decoder


class _Texted(msgspec.Struct):
    """A row, as far as it says its text."""

    text: str


_decoder = decoder(_Texted)


class RowTexts(Sequence[str]):
    """The texts at `positions` of the rows in the file at `path`. Any number of threads may read.

    Nothing is read before the first text is asked for; then only where each row begins is kept, 8 bytes a row.
    """

    def __init__(self, path: Path, positions: Sequence[int] | NDArray[np.int64]) -> None:
        self._path, self._positions = path, positions
        self._places: NDArray[np.int64] | None = None
        self._fd = -1
        self._opening = Lock()

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self._at(position) for position in self._positions[index]]
        return self._at(self._positions[index])

    def __iter__(self) -> Iterator[str]:
        return (self._at(position) for position in self._positions)

    def close(self) -> None:
        """Let go of the file. May be repeated."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._places = -1, None

    def _at(self, position: int | np.int64) -> str:
        if self._places is None:
            with self._opening:
                if self._places is None:
                    self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
                    self._places = _places(self._path)
        start, end = self._places[position : position + 2].tolist()
        return _decoder.decode(os.pread(self._fd, end - start, start)).text


def _places(path: Path) -> NDArray[np.int64]:
    """Where each row begins in the file, and where the last one ends."""
    with open(path, "rb") as rows:
        lengths = np.fromiter((len(line) for line in rows), dtype=np.int64)
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
