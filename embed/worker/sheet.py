"""Memory that two processes see: token ids one way, vectors the other, nothing pickled and nothing copied on the way.

It has no name in any folder and is gone with the last process that maps it. What a process wrote is there after its
death, so that the other one knows what it was computing.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.embed.types import TokenIds


class Sheet:
    """`rows` sequences of `tokens` tokens together, and room for their vectors of `dim` numbers.

    `starts` int64 (rows + 1,) and `ids` uint32 (tokens,): sequence k is ids[starts[k]:starts[k + 1]]. `vectors` float32
    (rows, dim), by position. `group` int64 (rows,): positions to compute now. `order` int64 (rows,): positions as they
    come. `begun` uint8 (rows,): 1 for what is being computed or has been.
    """

    def __init__(self, fd: int, rows: int, tokens: int, dim: int) -> None:
        """Maps the file; keeps the descriptor, which `close` closes."""
        self.fd, self.rows, self.tokens, self.dim = fd, rows, tokens, dim
        self._map = mmap.mmap(fd, size(rows, tokens, dim))
        self._at = 0
        self.starts = self._array(np.int64, rows + 1)
        self.group = self._array(np.int64, rows)
        self.order = self._array(np.int64, rows)
        self.ids = self._array(np.uint32, tokens)
        self.vectors = self._array(np.float32, rows * dim).reshape(rows, dim)
        self.begun = self._array(np.uint8, rows)

    @classmethod
    def of(cls, sequences: Sequence[TokenIds], dim: int) -> Sheet:
        """A sheet with these sequences on it."""
        lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
        sheet = cls.blank(len(sequences), int(lengths.sum()), dim)
        np.cumsum(lengths, out=sheet.starts[1:])
        if sheet.tokens:
            np.concatenate([np.asarray(s, dtype=np.uint32) for s in sequences], out=sheet.ids)
        return sheet

    @classmethod
    def blank(cls, rows: int, tokens: int, dim: int) -> Sheet:
        """A sheet of zeros."""
        fd = os.memfd_create("penstock-sheet", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, size(rows, tokens, dim))
            return cls(fd, rows, tokens, dim)
        except BaseException:
            os.close(fd)
            raise

    def sequence(self, position: int) -> NDArray[np.uint32]:
        """The ids of one sequence: a view."""
        return self.ids[self.starts[position] : self.starts[position + 1]]

    def close(self) -> None:
        """Let go of it; views that somebody still holds stay good."""
        del self.starts, self.group, self.order, self.ids, self.vectors, self.begun
        try:
            self._map.close()
        except BufferError:
            pass  # unmapped when the last view is gone
        os.close(self.fd)

    def _array(self, dtype: type[np.generic], count: int) -> NDArray[Any]:
        array = np.frombuffer(self._map, dtype=dtype, count=count, offset=self._at)
        self._at += _rounded(array.nbytes)
        return array


def size(rows: int, tokens: int, dim: int) -> int:
    """Bytes of a sheet."""
    return sum(map(_rounded, (8 * (rows + 1), 8 * rows, 8 * rows, 4 * tokens, 4 * rows * dim, rows))) or 1


def windows(sequences: Sequence[TokenIds], dim: int, most: int) -> Iterator[tuple[int, int]]:
    """(first, end) of runs of sequences that fit on a sheet of `most` bytes; a run has one sequence at least."""
    edges, used = [0], 0
    for position, sequence in enumerate(sequences):
        cost = 25 + 4 * (dim + len(sequence))
        if used and used + cost > most:
            edges.append(position)
            used = 0
        used += cost
    return pairwise([*edges, len(sequences)] if len(sequences) else edges)


def _rounded(count: int) -> int:
    return -(-count // 64) * 64
